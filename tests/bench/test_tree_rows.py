"""Every implementation does the work that a row's name says, and the rows notice when not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import bench_tree
from benchmarks.bench_tree import COLUMNS, ROWS, WrongWorkError, above_the_bar
from benchmarks.clock import Timed
from benchmarks.ours import Ours
from benchmarks.sglang_tree import SglangTree, sglang_context, why_no_rust
from benchmarks.subject import Hit, Room, Subject, ignore, look_up, run
from benchmarks.workload import PROMPT, TURN, Conversations, Shape

SMALL = Shape(prompts=2, conversations=3, calls=8)
ROOM = Room(64 * 1024, 128)
FILLED = (2 * 2048 + 2 * 3 * 4 * 512, 26)


def available() -> list[str]:
    return [column for column in COLUMNS if column != "rust" or why_no_rust() is None]


class Grown:
    """The small conversations in every implementation."""

    def __init__(self, page: int) -> None:
        self.page = page
        self.talk = Conversations(SMALL)
        self.subjects: list[Subject] = [COLUMNS[column](page, ROOM) for column in available()]
        for batch in self.talk.script:
            for subject in self.subjects:
                subject.fill(batch)


@pytest.fixture(params=[1, 16, 64])
def grown(request: pytest.FixtureRequest) -> Iterator[Grown]:
    with sglang_context(request.param):
        yield Grown(request.param)


def hits(grown: Grown, tokens: Any) -> set[tuple[int, int]]:
    found = [look_up(subject, tokens) for subject in grown.subjects]
    return {(hit.usable, hit.kv) for hit in found}


def test_all_have_the_same_cached(grown: Grown) -> None:
    assert {subject.sizes() for subject in grown.subjects} == {FILLED}


def test_all_hit_the_same(grown: Grown) -> None:
    talk = grown.talk
    assert hits(grown, talk.question(0)) == {(4096, 4096)}
    assert hits(grown, talk.whole[1]) == {(4096, 4096)}
    assert hits(grown, talk.whole[1][:PROMPT]) == {(2048, 2048)}
    assert hits(grown, talk.whole[2][: PROMPT + 640]) == {(2560, 2688)}
    assert hits(grown, talk.source.tokens(4096)) == {(0, 0)}
    for cut in bench_tree.CUTS:
        assert hits(grown, talk.fork(3, cut)) == {(3584, 3584 + cut)}
    # Where SGLang has split the edge the hits stay alike.
    assert hits(grown, talk.question(3)) == {(4096, 4096)}
    assert {subject.sizes() for subject in grown.subjects} == {FILLED}


def test_all_hit_the_same_after_inserts(grown: Grown) -> None:
    longer = grown.talk.next_turn(0)
    fork = grown.talk.fork(1, 192)[: 3584 + 192 + 64]
    for subject in grown.subjects:
        run(subject.insert(longer))
        run(subject.insert(fork))
    assert hits(grown, longer) == {(4608, 4608)}
    assert hits(grown, fork) == {(3840, 3840)}
    assert hits(grown, grown.talk.fork(1, 192)) == {(3584, 3776)}
    assert hits(grown, grown.talk.whole[1]) == {(4096, 4096)}
    tokens, states = FILLED
    assert {subject.sizes() for subject in grown.subjects} == {(tokens + TURN + 64, states + 2)}


def test_a_duplicate_adds_nothing_and_is_freed(grown: Grown) -> None:
    for subject in grown.subjects:
        if isinstance(subject, SglangTree):
            before = subject.tokens.freed, subject.rows.mamba_allocator.freed
            run(subject.insert(grown.talk.whole[0]))
            after = subject.tokens.freed, subject.rows.mamba_allocator.freed
            assert (after[0] - before[0], after[1] - before[1]) == (512, 1)
        elif isinstance(subject, Ours):
            before_pages = subject.cache.frames.kv_pages, subject.cache.frames.states
            run(subject.insert(grown.talk.whole[0]))
            assert (subject.cache.frames.kv_pages, subject.cache.frames.states) == before_pages
            assert subject.cache.counters.duplicate_pages == 512 // grown.page
            subject.cache.check(2)
        assert subject.sizes() == FILLED


def test_a_lock_holds_the_path_and_its_state(grown: Grown) -> None:
    for subject in grown.subjects:
        node = look_up(subject, grown.talk.whole[4]).node
        receipts: list[Any] = []
        timed = subject.lock(node, receipts.append)
        timed.finish(timed.call())
        assert protected(subject) == (4096, 1)
        run(subject.unlock(node, receipts[0]))
        assert protected(subject) == (0, 0)
        run(subject.lock_and_unlock(node))
        assert protected(subject) == (0, 0)


def protected(subject: Any) -> tuple[int, int]:
    if isinstance(subject, SglangTree):
        return subject.cache.full_protected_size(), subject.cache.mamba_protected_size()
    tree = subject.cache.tree if isinstance(subject, Ours) else subject.tree
    return tree.full_protected, tree.state_protected


def test_an_eviction_evicts_one(grown: Grown) -> None:
    for subject in grown.subjects:
        tokens, states = FILLED
        for _ in range(5):
            run(subject.evict_leaf())
            tokens, states = tokens - 512, states - 1
            assert subject.sizes() == (tokens, states)
        for _ in range(5):
            run(subject.evict_state())
            states -= 1
            assert subject.sizes().states == states
        if isinstance(subject, Ours):
            assert subject.sizes().tokens == tokens
            subject.cache.check(2)


def test_every_row_is_measured_for_every_implementation() -> None:
    makers = {column: COLUMNS[column] for column in available()}
    rows = dict(bench_tree.measure(16, SMALL, makers))
    assert set(rows) == set(ROWS)
    for name, times in rows.items():
        assert {column: len(found) for column, found in times.items()} == dict.fromkeys(makers, 8)
        assert all(t > 0 for found in times.values() for t in found), name


class ForgetfulCache(Ours):
    """Publishes nothing beyond the prompts."""

    def insert(self, tokens: Any) -> Timed:
        return Timed(lambda: None, ignore)


class WrongAnswers(Ours):
    """Claims a page too many."""

    def match(self, tokens: Any, seen: Any) -> Timed:
        return super().match(tokens, lambda hit: seen(Hit(hit.usable + self.page, *hit[1:])))


@pytest.mark.parametrize("liar", [ForgetfulCache, WrongAnswers])
def test_a_row_that_did_other_work_is_not_reported(liar: type[Ours]) -> None:
    with pytest.raises(WrongWorkError, match="not"):
        list(bench_tree.measure(64, SMALL, {"ours": liar}))


def test_the_bar_is_the_python_core() -> None:
    rows = [
        {"row": "a", "page": 1, "ours_us": 1.0, "python_us": 2.0, "rust_us": 0.5},
        {"row": "b", "page": 1, "ours_us": 2.0, "python_us": 2.0, "rust_us": 9.0},
        {"row": "c", "page": 1, "ours_us": 3.0, "python_us": 2.0, "rust_us": None},
    ]
    assert [row["row"] for row in above_the_bar(rows)] == ["b", "c"]
