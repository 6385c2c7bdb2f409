"""Where pages and states go: pictures of small arenas.

Frames of 4 pages; frame 0 is the sink, so frame 1 has the pages 4..7.
"""

from __future__ import annotations

from cachepawl.pool.frames import FrameAllocator
from cachepawl.types import Runs

FULL = 4


def test_kv_from_the_bottom_states_from_the_top() -> None:
    frames = FrameAllocator(6, FULL)
    assert frames.alloc_states(2) == (5, 4)
    assert frames.alloc_pages(1, 6) == Runs([(4, 6)])
    frames.free_states([5])
    assert frames.alloc_states(1) == (5,)


def test_a_row_goes_on_behind_its_last_page() -> None:
    frames = FrameAllocator(4, FULL)
    assert frames.alloc_pages(1, 1, reserve=2) == Runs([(4, 1)])
    # The next two pages are kept, so another row starts behind them.
    assert frames.alloc_pages(2, 1) == Runs([(7, 1)])
    assert frames.alloc_pages(1, 2) == Runs([(5, 2)])


def test_what_is_left_of_a_reservation_stays_reserved() -> None:
    frames = FrameAllocator(4, FULL)
    frames.alloc_pages(1, 1, reserve=3)
    assert frames.alloc_pages(1, 1) == Runs([(5, 1)])
    assert frames.alloc_pages(2, 1) == Runs([(8, 1)])
    assert frames.alloc_pages(1, 2) == Runs([(6, 2)])


def test_a_dropped_reservation_is_open_to_all() -> None:
    frames = FrameAllocator(4, FULL)
    frames.alloc_pages(1, 1, reserve=3)
    frames.drop_reservation(1)
    assert frames.alloc_pages(2, 1) == Runs([(5, 1)])


def test_the_fullest_frame_that_has_the_run() -> None:
    frames = FrameAllocator(5, FULL)
    frames.alloc_pages(1, 12)
    frames.free_pinned(Runs([(5, 3), (9, 2), (14, 1)]))  # open: 5..7, 9..10, 14
    assert frames.alloc_pages(2, 1) == Runs([(14, 1)])
    assert frames.alloc_pages(3, 2) == Runs([(9, 2)])
    assert frames.alloc_pages(4, 2) == Runs([(5, 2)])


def test_a_whole_frame_before_scraps() -> None:
    frames = FrameAllocator(4, FULL)
    frames.alloc_pages(1, 8)
    frames.free_pinned(Runs([(5, 1), (7, 1), (9, 1)]))
    assert frames.alloc_pages(2, 2) == Runs([(12, 2)])
    assert frames.alloc_pages(3, 2) == Runs([(14, 2)])
    # Nothing but scraps is left: the fullest frame's first.
    assert frames.alloc_pages(4, 3) == Runs([(9, 1), (5, 1), (7, 1)])


def test_a_shortage_takes_back_half_of_the_longest_reservation() -> None:
    frames = FrameAllocator(3, 8)
    frames.alloc_pages(1, 2, reserve=6)
    frames.alloc_pages(2, 6, reserve=2)
    assert frames.available_pages == 8
    assert frames.alloc_pages(3, 1) == Runs([(13, 1)])
    assert frames.counters.reservations_revoked == 1
    # Both owners still have what follows their pages.
    assert frames.alloc_pages(1, 3) == Runs([(10, 3)])
    assert frames.alloc_pages(2, 2) == Runs([(22, 2)])
    assert frames.alloc_pages(3, 2) == Runs([(14, 2)])
    assert frames.available_pages == 0


def test_reservations_do_not_keep_a_frame() -> None:
    frames = FrameAllocator(2, FULL)
    pages = frames.alloc_pages(1, 1, reserve=3)
    assert pages is not None
    frames.free_pinned(pages)
    assert frames.alloc_states(1) == (1,)
    assert frames.violations() == []


def test_a_frame_that_held_a_state_is_named_before_it_takes_kv() -> None:
    # Old state bits may be NaN as KV, so whoever owns the bytes must zero them.
    frames = FrameAllocator(3, FULL)
    frames.free_states(frames.alloc_states(2) or ())
    frames.alloc_pages(1, 5)
    assert frames.turned_to_kv == [1, 2]
    frames.clear()
    frames.alloc_states(2)
    frames.clear()
    frames.alloc_pages(1, 5)
    assert frames.turned_to_kv == [1, 2, 1, 2]


def test_released_frames_are_told_once() -> None:
    frames = FrameAllocator(4, FULL)
    told: list[int] = []
    frames.on_release = told.append
    pages, slots = frames.alloc_pages(1, 6), frames.alloc_states(1)
    assert pages is not None
    assert slots is not None
    frames.free_pinned(pages.slice(0, 5))
    frames.free_pinned(pages.slice(5, 6))
    frames.free_states(slots)
    assert told == [1, 2, 3]
