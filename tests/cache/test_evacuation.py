"""Evacuation as admission sees it: what fits after packing comes in, soon, in small steps.

The server in miniature (`conftest.py`) asks for a way at every admission and compares with a
count of its own; here are the cases that it is too small for.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.clock import collector_off
from cachepawl.cache import HybridPrefixCache
from cachepawl.evacuation import Admission, Evacuated
from cachepawl.pool.evacuation import BURST_FRAMES
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock
from cachepawl.types import Key, Runs

MakeGeometry = Callable[..., Geometry]


class Crowd:
    """Rows that were filled page by page in turn, until the arena was full."""

    def __init__(self, cache: HybridPrefixCache, rows: int, pages: int) -> None:
        self.cache = cache
        self.page = cache.geometry.page_tokens
        for row in range(rows):
            cache.open_row(row, cache.tree.root, 0)
        for page in range(pages):
            for row in range(rows):
                cache.allocate(row, (page + 1) * self.page)

    def finish(self, row: int) -> None:
        self.cache.release(row, 0, 10**9)
        self.cache.close_row(row)


def narrow(frames: int, full: int, states: int = 0) -> HybridPrefixCache:
    """Pages of one token."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    state = StateShape(1, (), 2, (full * kv.entry_bytes // 4,), 4)
    return HybridPrefixCache(Geometry(kv, state, 1, frames + 1), states_per_request=states)


@pytest.mark.parametrize(("rows", "pages"), [(64, 128), (256, 32)])
def test_one_survivor_of_a_full_arena(rows: int, pages: int) -> None:
    """Qwen3-Next's frames of 197 pages: all but one frame are free after one burst."""
    frames = -(-rows * pages // 197)
    cache = narrow(frames, 197)
    crowd = Crowd(cache, rows, pages)
    for row in range(rows - 1):
        crowd.finish(row)
    assert cache.frames.pinned_frames > 1
    assert not cache.fits(0, frames - 1)
    assert cache.make_way(0, frames - 1) is Admission.OPEN
    assert cache.frames.available_states == frames - 1
    assert cache.counters.evacuations == 1
    assert cache.counters.evacuated_pages < pages
    cache.check(2)


def test_a_burst_is_two_frames_and_the_rest_comes_later() -> None:
    cache = narrow(40, 50)
    crowd = Crowd(cache, 80, 25)
    for row in range(0, 80, 2):
        crowd.finish(row)
    moved: list[int] = []
    cache.carry = lambda done: moved.append(done.moves.pages)
    asked = 0
    while (way := cache.make_way(0, 20)) is Admission.SOON:
        asked += 1
        cache.check(2)
        assert asked < 40
    assert way is Admission.OPEN
    assert cache.frames.pinned_frames == 20
    assert len(moved) > 2
    assert max(moved) <= BURST_FRAMES * 50
    assert cache.counters.largest_evacuation == max(moved)
    assert cache.counters.evacuated_pages == sum(moved)


def test_not_before_eviction_alone_is_not_enough() -> None:
    cache = narrow(4, 4)
    Crowd(cache, 2, 1)
    cache.publish(0, Key(array("q", [7]).tobytes()), 1, None)
    cache.carry = lambda done: pytest.fail("nothing has to move")
    assert cache.make_way(0, 3) is Admission.OPEN  # one frame has a pinned page
    assert cache.make_way(12, 1) is Admission.CLOSED
    assert cache.make_way(0, 4) is Admission.CLOSED
    assert cache.counters.evacuations == 0


def test_only_pinned_pages_are_moved_and_the_oldest_makes_room() -> None:
    """Frames of 2 pages: a locked one beside a cached one in each, every page in use."""
    cache = narrow(4, 2)
    locks: list[Lock] = []
    for frame in range(4):
        for kept in (True, False):
            row, key = 2 * frame + kept, Key(array("q", [row_token(frame, kept)]).tobytes())
            cache.open_row(row, cache.tree.root, 0)
            cache.allocate(row, 1)
            node = cache.publish(row, key, 1, None).node
            cache.close_row(row)
            if kept:
                locks.append(cache.lock(node))
    assert cache.frames.pinned_frames == cache.frames.kv_frames == 4
    done: list[Evacuated] = []
    cache.carry = done.append
    assert cache.make_way(0, 1) is Admission.OPEN
    assert [batch.moves.pages for batch in done] == [1]
    # The oldest lies in the frame that is left; then twice as many go.
    assert cache.counters.evicted_tokens == 3
    cache.take_states(1)
    cache.check(2)
    for frame in range(4):
        assert cache.match(Key(array("q", [row_token(frame, True)]).tobytes())).kv_len == 1


def row_token(frame: int, kept: bool) -> int:
    return 10 * frame + kept


def side_by_side(pages: int) -> HybridPrefixCache:
    """Three frames of 4 pages, in each a row with `pages` of them; the first row is ending."""
    cache = narrow(3, 4)
    for row in range(3):
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, 4)
        cache.refs.rows[row].runs[0][1] = cache.refs.rows[row].count = pages
        cache.refs.row_pages -= 4 - pages
        cache.frames.free_pinned(Runs([(4 * (row + 1) + pages, 4 - pages)]))
    cache.check(2)
    return cache


def test_a_row_that_is_ending_is_passed_over() -> None:
    cache = side_by_side(2)
    cache.release(0, 1, 2)
    assert cache.make_way(0, 1) is Admission.OPEN
    assert [cache.frames.pinned_in(frame) for frame in (1, 2, 3)] == [1, 0, 4]
    cache.check(2)


def test_pages_of_a_transfer_stay_and_admission_waits_for_its_end() -> None:
    cache = side_by_side(1)
    for row in (0, 1):
        cache.frames.hold_still(cache.refs.pages(row, 0, 1))
    assert cache.make_way(0, 2) is Admission.CLOSED
    assert cache.make_way(0, 1) is Admission.OPEN
    assert [cache.frames.pinned_in(frame) for frame in (1, 2, 3)] in ([2, 1, 0], [1, 2, 0])
    cache.frames.let_go(cache.refs.pages(0, 0, 1))
    assert cache.make_way(0, 2) is Admission.OPEN
    cache.check(2)


def test_rows_that_are_all_ending_make_admission_wait() -> None:
    cache = side_by_side(2)
    for row in range(3):
        cache.release(row, 1, 2)
    sizes = cache.stats()
    assert cache.make_way(0, 1) is Admission.SOON
    assert cache.stats() == sizes | {"evacuations_refused": 1}
    cache.release(0, 0, 1)
    assert cache.make_way(0, 1) is Admission.OPEN


def calls_of_a_burst(cached: int) -> int:
    """Python calls of one burst beside so many cached prompts of a page."""
    cache = narrow(400, 8)
    for number in range(cached):
        row, key = 1000 + number, Key(array("q", [number]).tobytes())
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, 1)
        cache.publish(row, key, 1, None)
        cache.close_row(row)
    for row in range(40):  # a frame each
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, 8)
        cache.refs.rows[row].runs[0][1] = cache.refs.rows[row].count = 3
        cache.refs.row_pages -= 5
        first = cache.refs.rows[row].last_page + 1
        cache.frames.free_pinned(Runs([(first, 5)]))
    cache.check(2)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    with collector_off():  # who listens to the collector is no part of it
        sys.setprofile(count)
        try:
            assert cache.make_way(0, 361) is Admission.OPEN
        finally:
            sys.setprofile(None)
    assert cache.counters.evacuated_pages == 3
    assert cache.counters.evicted_tokens == 0
    return calls


def test_a_burst_costs_the_same_whatever_is_cached() -> None:
    assert calls_of_a_burst(8) == calls_of_a_burst(800)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), full=st.integers(2, 9), frames=st.integers(4, 24))
def test_nobody_starves(seed: int, full: int, frames: int) -> None:
    """The first in line comes in while the others go on decoding, or cannot come in at all.

    What the others will still take is counted, as admission does; so it stays true that the
    first in line fits after packing, and it waits no longer than it takes to pack every frame.
    """
    draw = random.Random(seed)
    cache = narrow(frames, full)
    left: dict[int, int] = {}
    slots: dict[int, tuple[int, ...]] = {}
    number = waited = waits = 0
    states, pages = 0, 0
    for _ in range(200):
        if not states:
            states, pages, waited = draw.choice((1, 1, 2)), draw.randint(1, 3 * full), 0
            answer = draw.randint(1, 2 * full)
        owed = sum(left.values())
        packed = cache.frames.fits_packed(owed + pages + answer, states, 0)
        way = cache.make_way(owed + pages + answer, states)
        assert (way is not Admission.CLOSED) == packed
        waited += way is Admission.SOON
        waits += way is Admission.SOON
        assert waited <= frames
        if way is Admission.OPEN:
            number += 1
            slots[number] = cache.take_states(states)
            cache.open_row(number, cache.tree.root, 0)
            cache.allocate(number, pages)
            left[number], states = answer, 0
        elif way is Admission.CLOSED and not left:
            states = 0  # larger than the arena
        rows = list(left)
        assert cache.make_room_for_pages(len(rows))
        cache.next_pages(rows)
        for row in rows:
            left[row] -= 1
            if not left[row]:
                del left[row]
                cache.release(row, 0, 10**9)
                cache.close_row(row)
                cache.free_states(slots.pop(row))
    cache.check(2)
