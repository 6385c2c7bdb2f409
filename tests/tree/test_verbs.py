"""The verbs by example: what each returns and what it leaves alone.  Page 4."""

from __future__ import annotations

from array import array

import pytest

from cachepawl.errors import LockError
from cachepawl.tree import Freed, InsertResult, Match, RadixTree
from cachepawl.types import NO_PAGES, Key, Runs


def key(*tokens: int, namespace: bytes = b"") -> Key:
    return Key(array("q", tokens).tobytes(), namespace)


def pages(first: int, stop: int) -> Runs:
    return Runs([(first, stop - first)])


STEM = tuple(range(8))
LONG = (*STEM, *range(10, 18))


class Server:
    """The part of a server that the tree sees: match, lock, compute, publish, unlock."""

    def __init__(self, *, branch_points: bool) -> None:
        self.tree = RadixTree(4)
        self.branch_points = branch_points
        self.next_page = 1
        self.next_slot = 1

    def fresh(self, tokens: int) -> Runs:
        self.next_page += tokens // 4
        return pages(self.next_page - tokens // 4, self.next_page)

    def slot(self) -> int:
        self.next_slot += 1
        return self.next_slot

    def serve(self, prompt: tuple[int, ...]) -> int:
        """Returns the tokens that were not computed again."""
        tree = self.tree
        match = tree.match(key(*prompt), len(prompt) - 1)
        receipt = tree.lock(match.node).receipt
        at = match.usable_len
        stops = [len(prompt) // 4 * 4]
        if self.branch_points and at < match.kv_len < stops[0]:
            stops.insert(0, match.kv_len)
        for stop in stops:
            done = tree.insert(
                key(*prompt[:stop]), self.fresh(stop - at), owned_from=at, state=self.slot()
            )
            tree.check(2)
            tree.unlock(receipt)
            receipt = tree.lock(done.node).receipt
            at = stop
        tree.unlock(receipt)
        tree.check(2)
        return match.usable_len


def test_four_requests_fork_at_8() -> None:
    server = Server(branch_points=True)
    hits = [server.serve((*STEM, *range(n, n + 9))) for n in (100, 200, 300, 400)]
    assert hits == [0, 0, 8, 8]


def test_without_branch_states_nobody_hits() -> None:
    server = Server(branch_points=False)
    hits = [server.serve((*STEM, *range(n, n + 9))) for n in (100, 200, 300, 400)]
    assert hits == [0, 0, 0, 0]


def test_next_turn_hits_the_last_one() -> None:
    server = Server(branch_points=True)
    assert [server.serve(LONG[:n]) for n in (9, 16, 16, 13)] == [0, 8, 8, 8]


def test_match_with_states() -> None:
    tree = RadixTree(4)
    stem = tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=1).node
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=2).node
    assert tree.match(key(*LONG)) == Match(16, 16, leaf, leaf)
    assert tree.match(key(*LONG), 15) == Match(16, 8, stem, leaf)
    assert tree.match(key(*LONG[:13])) == Match(12, 8, stem, leaf)
    assert tree.match(key(*LONG), 7) == Match(16, 0, tree.root, leaf)
    assert tree.match(key(*LONG), -1) == Match(16, 0, tree.root, leaf)
    assert tree.match(key(9, 9, 9, 9)) == Match(0, 0, tree.root, tree.root)
    assert tree.match(key()) == Match(0, 0, tree.root, tree.root)


def test_match_without_states_ends_inside_an_edge() -> None:
    tree = RadixTree(4, has_states=False)
    stem = tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=None).node
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=None).node
    assert tree.match(key(*LONG), 15) == Match(16, 12, leaf, leaf)
    assert tree.match(key(*LONG[:13])) == Match(12, 12, leaf, leaf)
    assert tree.match(key(*LONG), 8) == Match(16, 8, stem, leaf)
    assert tree.match(key(*LONG), 7) == Match(16, 4, stem, leaf)
    assert tree.match(key(*LONG), -1) == Match(16, 0, tree.root, leaf)
    assert tree.path_pages(leaf).slice(0, 3) == pages(1, 4)
    assert tree.num_nodes == 2


def test_touch_leaves_states_alone() -> None:
    tree = RadixTree(4)
    tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=1)
    tree.insert(key(*range(50, 58)), pages(5, 7), owned_from=0, state=2)
    tree.touch(key(*STEM))
    kv, state = tree.kv_victim(), tree.state_victim()
    assert kv is not None
    assert state is not None
    assert (kv.state, state.state) == (2, 1)
    tree.touch(key(99, 99, 99, 99))
    assert tree.clock == 3


def test_insert_intervals() -> None:
    tree = RadixTree(4)
    tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=1)
    # owned_from 4, matched_len 8, length 16: pages 10 is a duplicate of page 2.
    done = tree.insert(key(*LONG), pages(10, 13), owned_from=4, state=2)
    assert done == InsertResult(done.node, 8, pages(10, 11), True)
    assert tree.path_pages(done.node) == Runs([(1, 2), (11, 2)])
    again = tree.insert(key(*LONG), NO_PAGES, owned_from=16, state=3)
    assert again == InsertResult(done.node, 16, NO_PAGES, False)
    assert done.node.state == 2


def test_insert_fills_a_tombstone() -> None:
    tree = RadixTree(4)
    tree.insert(key(*LONG), pages(1, 5), owned_from=0, state=1)
    done = tree.insert(key(*STEM), NO_PAGES, owned_from=8, state=2)
    assert (done.node.end, done.matched_len, done.state_taken) == (8, 8, True)
    assert tree.match(key(*STEM)).usable_len == 8
    assert tree.match(key(*LONG)).usable_len == 16


@pytest.mark.parametrize(
    ("tokens", "count", "owned_from", "state", "text"),
    [
        (LONG[:7], 1, 0, None, "multiples of 4 tokens; cut the key"),
        (LONG, 3, 2, None, "multiples of 4 tokens; cut the key"),
        (LONG, 0, 20, None, "owned_from 20 is outside of a key of 16 tokens"),
        (LONG, 0, -4, None, "owned_from -4 is outside of a key of 16 tokens"),
        (LONG, 3, 0, None, r"3 pages for tokens \[0, 16\), which are 4; pass"),
        (LONG, 3, 4, None, "the tree holds 0 tokens of this key; keep the prefix locked"),
        ((), 0, 0, 1, "empty key"),
    ],
)
def test_insert_refuses(
    tokens: tuple[int, ...], count: int, owned_from: int, state: int | None, text: str
) -> None:
    tree = RadixTree(4)
    with pytest.raises(ValueError, match=text):
        tree.insert(key(*tokens), pages(1, 1 + count), owned_from=owned_from, state=state)
    assert (tree.num_nodes, tree.clock) == (0, 0)


def test_insert_refuses_broken_bytes_and_states_without_layers() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        RadixTree(4).insert(Key(b"abc"), NO_PAGES, owned_from=0, state=None)
    with pytest.raises(ValueError, match="has_states=True"):
        RadixTree(4, has_states=False).insert(key(*STEM), pages(1, 3), owned_from=0, state=1)
    with pytest.raises(ValueError, match="at least 1"):
        RadixTree(0)


def test_other_token_sizes() -> None:
    tree = RadixTree(2, token_bytes=4)
    tree.insert(Key(array("i", range(4)).tobytes()), pages(1, 3), owned_from=0, state=1)
    assert tree.match(Key(array("i", range(5)).tobytes())).usable_len == 4
    tree.check(2)


def test_lock_and_unlock_return_what_changes() -> None:
    tree = RadixTree(4)
    stem = tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=1).node
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=2).node
    first = tree.lock(leaf)
    second = tree.lock(stem)
    assert first.pinned == (pages(3, 5), pages(1, 3))
    assert second.pinned == ()
    assert (tree.full_protected, tree.state_protected) == (16, 2)
    assert tree.unlock(first.receipt) == (pages(3, 5),)
    assert tree.unlock(second.receipt) == (pages(1, 3),)
    root = tree.lock(tree.root)
    assert root.pinned == ()
    assert tree.unlock(root.receipt) == ()
    with pytest.raises(LockError, match="spent before"):
        tree.unlock(root.receipt)
    with pytest.raises(LockError, match="another tree"):
        RadixTree(4).unlock(tree.lock(leaf).receipt)
    with pytest.raises(LockError, match="not in this tree"):
        RadixTree(4).lock(leaf)


def test_eviction_of_kv_cascades_over_tombstones() -> None:
    tree = RadixTree(4)
    tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=None)
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=2).node
    assert tree.evict_kv(leaf) == Freed(Runs([(3, 2), (1, 2)]), (2,), 2)
    assert (tree.num_nodes, tree.full_evictable, tree.state_evictable) == (0, 0, 0)
    assert tree.kv_victim() is None
    assert tree.state_victim() is None


def test_eviction_without_states_goes_one_leaf_at_a_time() -> None:
    tree = RadixTree(4, has_states=False)
    tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=None)
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=None).node
    assert tree.evict_kv(leaf) == Freed(pages(3, 5), (), 1)
    assert tree.full_evictable == 8


def test_evictions_refuse() -> None:
    tree = RadixTree(4)
    stem = tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=None).node
    leaf = tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=2).node
    receipt = tree.lock(leaf).receipt
    for evict, node, text in (
        (tree.evict_kv, leaf, "locked 1 times"),
        (tree.evict_state, leaf, "locked 1 times"),
        (tree.evict_kv, stem, "1 children"),
        (tree.evict_state, stem, "no state"),
        (tree.evict_kv, tree.root, "root"),
        (tree.evict_state, tree.root, "root"),
    ):
        with pytest.raises(ValueError, match=text):
            evict(node)
    tree.check(2)
    tree.unlock(receipt)
    tree.evict_state(leaf)
    with pytest.raises(ValueError, match="no state"):
        tree.evict_state(leaf)


def test_cold_leaves_go_first_in_the_order_they_became_cold() -> None:
    tree = RadixTree(4)
    leaves = [
        tree.insert(key(*range(n, n + 4)), pages(n, n + 1), owned_from=0, state=n).node
        for n in (10, 20, 30, 40)
    ]
    tree.evict_state(leaves[3])
    tree.evict_state(leaves[1])
    order: list[int] = []
    while (node := tree.kv_victim()) is not None:
        order += tree.evict_kv(node).pages
    assert order == [40, 20, 10, 30]


def test_reset() -> None:
    tree = RadixTree(4)
    stem = tree.insert(key(*STEM), pages(1, 3), owned_from=0, state=1).node
    tree.insert(key(*LONG), pages(3, 5), owned_from=8, state=2)
    receipt = tree.lock(stem).receipt
    with pytest.raises(LockError, match="8 tokens and 1 states are locked"):
        tree.reset()
    tree.unlock(receipt)
    assert tree.reset() == Freed(pages(1, 5), (1, 2), 2)
    tree.check(2)
    assert tree.reset() == Freed(NO_PAGES, (), 0)
    with pytest.raises(LockError):
        tree.lock(stem)


def test_walk_meets_parents_first_in_order_of_birth() -> None:
    tree = RadixTree(4)
    for n, tail in enumerate((20, 30, 40)):
        tree.insert(
            key(*STEM, *range(tail, tail + 4)), pages(10 * n, 10 * n + 3), owned_from=0, state=n
        )
    assert [(n.start, n.end, n.state) for n in tree.walk()] == [
        (0, 8, None), (8, 12, 0), (8, 12, 1), (8, 12, 2),
    ]  # fmt: skip


def test_render() -> None:
    tree = RadixTree(4)
    tree.insert(key(*LONG, namespace=b"lora"), Runs([(1, 3), (9, 1)]), owned_from=0, state=1)
    leaf = tree.insert(key(*STEM, 1, 2, 3, 4, namespace=b"lora"), pages(20, 23), owned_from=0,
                       state=2).node  # fmt: skip
    tree.evict_state(leaf)
    tree.lock(tree.match(key(*LONG, namespace=b"lora")).node)
    assert tree.render().splitlines() == [
        "tree page 4, clock 3, 3 nodes; KV 4 evictable + 16 protected tokens; states 0 + 1",
        "  [0, 8) pages 1..2 locked 1/0 in b'lora'",
        "    [8, 16) pages 3,9 state 1 used 3 locked 1/1",
        "    [8, 12) pages 22 cold",
    ]
    assert tree.render(1).splitlines()[1:] == [
        "  [0, 8) pages 1..2 locked 1/0 in b'lora'",
        "… more than 1 nodes",
    ]
    assert "[8, 12) state None locks 0/0" in repr(leaf)
    assert "end 0" in repr(tree.root)
    assert "open" in repr(tree.lock(leaf).receipt)
