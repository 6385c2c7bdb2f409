"""The map of frames: one character a frame, every kind, nothing changed."""

from __future__ import annotations

import copy

from cachepawl.observe.frame_map import LEGEND, WIDTH, draw_frames
from cachepawl.pool.frames import FrameAllocator
from cachepawl.types import Runs

FULL = 20


def marks(frames: FrameAllocator, most: int = 10**6) -> str:
    lines = draw_frames(frames, most).split("\n")
    assert lines[-1] == LEGEND
    drawn = [line for line in lines[:-1] if "more" not in line]
    assert [int(line[:6]) for line in drawn] == list(range(0, WIDTH * len(drawn), WIDTH))
    assert all(len(line[7:]) <= WIDTH for line in drawn)
    return "".join(line[7:] for line in drawn)


def test_every_kind() -> None:
    frames = FrameAllocator(8, FULL)
    frames.alloc_states(1)
    frames.alloc_pages(1, 5 * FULL)
    # Frames 2 to 5 keep 1, 2, 10 and 19 pages.
    for frame, kept in ((2, 1), (3, 2), (4, 10), (5, 19)):
        frames.free_pinned(Runs([(frame * FULL + kept, FULL - kept)]))
    assert marks(frames) == "-#1159.S"
    assert all(mark in LEGEND for mark in "-#.S")


def test_a_page_more_is_never_drawn_smaller() -> None:
    frames = FrameAllocator(2, FULL)
    drawn = ""
    for _ in range(FULL):
        frames.alloc_pages(1, 1)
        drawn += marks(frames)[1]
    assert drawn == "1112233445566778899#"


def test_lines_and_what_is_left_out() -> None:
    frames = FrameAllocator(2 * WIDTH + 3, FULL)
    assert marks(frames) == "-" + "." * (2 * WIDTH + 2)
    assert "more" not in draw_frames(frames, 2 * WIDTH + 3)
    assert marks(frames, most=WIDTH + 1) == "-" + "." * WIDTH
    assert f"... and {WIDTH + 2} more" in draw_frames(frames, WIDTH + 1)


def test_reads_only() -> None:
    frames = FrameAllocator(6, FULL)
    frames.alloc_pages(1, 30, reserve=4)
    frames.alloc_states(2)
    before = copy.deepcopy(vars(frames))
    draw_frames(frames, 100)
    assert repr(vars(frames)) == repr(before)
