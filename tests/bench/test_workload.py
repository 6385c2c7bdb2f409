"""The seeded conversations are what the rows' names say."""

from __future__ import annotations

from benchmarks.workload import (
    FULL,
    LEAVES,
    QUICK,
    TURN,
    Conversations,
    Shape,
    Source,
    long_path,
    many_leaves,
)

SMALL = Shape(prompts=2, conversations=3, calls=8)


def test_the_tree_of_both_shapes_has_776_states() -> None:
    assert FULL.states == QUICK.states == 776


def test_a_conversation_is_a_path_of_five_nodes_and_4096_tokens() -> None:
    talk = Conversations(SMALL)
    lengths = [sorted({len(tokens) for tokens in batch}) for batch in talk.script]
    assert lengths == [[2048], [2560], [3072], [3584], [4096]] * 2
    assert [len(tokens) for tokens in talk.whole] == [4096] * 6
    assert len({tokens.tobytes() for tokens in talk.whole}) == 6
    assert len({tokens[:2048].tobytes() for tokens in talk.whole}) == 2
    assert sum(len(batch) for batch in talk.script) == SMALL.states


def test_questions_forks_and_turns() -> None:
    talk = Conversations(SMALL)
    assert len(talk.question(0)) == 4352
    assert talk.question(0)[:4096] == talk.whole[0]
    fork = talk.fork(1, 320)
    assert fork[: 3584 + 320] == talk.whole[1][: 3584 + 320]
    assert fork[3584 + 320] != talk.whole[1][3584 + 320]
    assert len(talk.next_turn(2)) == 4096 + TURN


def test_the_same_seed_gives_the_same_tokens() -> None:
    assert Conversations(SMALL, 3).script == Conversations(SMALL, 3).script
    assert Conversations(SMALL, 3).whole != Conversations(SMALL, 4).whole


def test_pieces_never_share_a_page_by_chance() -> None:
    for seed in (0, 1):
        source = Source(seed)
        firsts = [source.tokens(2)[0] for _ in range(1000)]
        assert len(set(firsts)) == 1000


def test_the_long_path_grows_by_a_node_at_a_time() -> None:
    script = long_path()
    assert [len(tokens) for (tokens,) in script] == [2048 * n for n in range(1, 65)]
    assert script[-1][0][:2048] == script[0][0]


def test_many_leaves_are_3200() -> None:
    leaves = [t for batch in many_leaves(SMALL) for t in batch if len(t) == 2 * TURN]
    assert len(leaves) == LEAVES
    assert len({t[TURN] for t in leaves}) == LEAVES
