"""Which pinned pages are moved together, and where to.  Plans; changes nothing.

A frame with one pinned page is no room for a state, and no eviction empties it.  Its
pinned pages go into open pages of other frames that have pinned pages as well:

    before  [P e . .] [P P e .] [P . . .]     3 frames pinned
    after   [. e . .] [P P e P] [P P . .]     2 frames pinned

Frames with the fewest pinned pages are emptied first, the fullest of the others are
filled first, and what belongs together stays together where there is a run for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from sortedcontainers import SortedList

from cachepawl.pool.bits import first_run, lowest_run, ones
from cachepawl.pool.frames import SCAN, FrameAllocator
from cachepawl.pool.moves import Move, Moves
from cachepawl.types import Runs

BURST_FRAMES = 2
"""Most frames' worth of pages that one burst moves."""


class Sources(NamedTuple):
    """The frames that a burst rids of pinned pages."""

    leave: frozenset[int]
    stay: list[int]
    """Frames with pinned pages that keep them, and take those of the others."""
    pages: int
    """Pinned pages in the frames that are left."""


def choose_sources(frames: FrameAllocator, wanted: int, barred: Set[int]) -> Sources:
    """At most `wanted` frames to rid of pinned pages, those with the fewest first.

    No more than `BURST_FRAMES` frames' worth of pages, and no more than the others have room
    for once everything evictable is gone.  Frames that are `barred`, or that a transfer holds
    still, keep their pages.  Costs one look at every frame's pins.
    """
    full = frames.pages_per_frame
    pinned = frames.pinned_by_frame()
    room = len(pinned) * full - sum(count for count, _ in pinned)
    leave: set[int] = set()
    pages = 0
    for count, frame in pinned:
        if frame in barred or frames.is_still(frame):
            continue
        room -= full - count
        pages += count
        if len(leave) == wanted or pages > min(room, BURST_FRAMES * full):
            pages -= count
            break
        leave.add(frame)
    return Sources(frozenset(leave), [f for _, f in pinned if f not in leave], pages)


def strangers(frames: FrameAllocator, sources: Sources, holders: Iterable[Runs]) -> set[int]:
    """Frames to be left whose pinned pages are not all the holders'.

    What else is pinned there (a row that is ending, say) cannot be rewritten.
    """
    found = dict.fromkeys(sources.leave, 0)
    for runs in holders:
        for frame, count in runs.by_frame(frames.pages_per_frame):
            if frame in found:
                found[frame] += count
    return {frame for frame, count in found.items() if count != frames.pinned_in(frame)}


def room_in(frames: FrameAllocator, stay: Iterable[int]) -> int:
    """Free pages of frames, reserved or not."""
    return sum(frames.pages_per_frame - frames.pages_in_use(frame) for frame in stay)


def place(frames: FrameAllocator, holders: Iterable[Runs], sources: Sources) -> Moves:
    """Every page of the holders that lies in a frame to be left, and its new place.

    The frames that stay have room enough (`room_in`).
    """
    full = frames.pages_per_frame
    targets = _Targets(frames, sources)
    moves: list[Move] = []
    for runs in holders:
        count = sum(n for frame, n in runs.by_frame(full) if frame in sources.leave)
        if count:
            moves += _pair(_inside(runs, sources.leave, full), targets.take(count))
    return Moves(moves, full)


def _inside(runs: Runs, leave: frozenset[int], full: int) -> Iterator[tuple[int, int]]:
    """The parts of the runs in the frames `leave`, cut at frame borders."""
    for first, count in runs.runs:
        while count > 0:
            here = min(count, full - first % full)
            if first // full in leave:
                yield first, here
            first, count = first + here, count - here


def _pair(parts: Iterable[tuple[int, int]], places: Sequence[tuple[int, int]]) -> Iterator[Move]:
    """Sources and targets of the same number of pages, in order, as moves."""
    todo = list(reversed(places))
    for source, missing in parts:
        while missing > 0:
            target, count = todo.pop()
            here = min(count, missing)
            yield Move(source, target, here)
            source, missing = source + here, missing - here
            if here < count:
                todo.append((target + here, count - here))


class _Targets:
    """Open pages of the frames that stay; reserved ones only where there are no others."""

    def __init__(self, frames: FrameAllocator, sources: Sources) -> None:
        self._full = frames.pages_per_frame
        self._open = {frame: frames.unreserved_mask(frame) for frame in sources.stay}
        if sum(mask.bit_count() for mask in self._open.values()) < sources.pages:
            self._open = {frame: frames.free_mask(frame) for frame in sources.stay}
        self._order: SortedList[tuple[int, int]] = SortedList(
            (mask.bit_count(), frame) for frame, mask in self._open.items() if mask
        )

    def take(self, count: int) -> list[tuple[int, int]]:
        """`count` pages as few runs, `(first page, pages)`."""
        out = []
        while count > 0:
            frame, at, got = self._best(count)
            self._use(frame, at, got)
            out.append((frame * self._full + at, got))
            count -= got
        return out

    def _best(self, count: int) -> tuple[int, int, int]:
        start = self._order.bisect_left((count, 0))
        for _, frame in self._order.islice(start, start + SCAN):
            at = first_run(self._open[frame], count)
            if at >= 0:
                return frame, at, count
        frame = self._order[0][1]
        at, got = lowest_run(self._open[frame])
        return frame, at, min(got, count)

    def _use(self, frame: int, at: int, count: int) -> None:
        mask = self._open[frame]
        self._order.remove((mask.bit_count(), frame))
        self._open[frame] = mask = mask & ~ones(count, at)
        if mask:
            self._order.add((mask.bit_count(), frame))
