"""Places for compressed states inside whole frames.  No torch.

    frame f    | f*N | f*N+1 | ... | f*N+N-1 |   N places of C bytes, the rest unused

Id = frame * N + place.  A new checkpoint goes into the fullest frame that has a place, the
lowest among equals; a frame is taken when all are full and given back when its last one goes.

Frames strand here as KV frames do: what is left after evictions may hold many frames with
one checkpoint each.  `start_pack` empties the emptiest of them into the others' places, as soon
as N places are open in all: N evictions give a frame, wherever they were.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from sortedcontainers import SortedList

from cachepawl.errors import DoubleFree
from cachepawl.pool.bits import ones
from cachepawl.pool.frames import CHECKPOINTS, FrameAllocator


class CheckpointMove(NamedTuple):
    """A checkpoint lies elsewhere now; its bytes are to be copied."""

    source: int
    target: int


class CheckpointSlots:
    """`per_frame` places a frame, in frames of one allocator.

    Every operation costs the checkpoints it names, never the number of frames.
    """

    def __init__(self, frames: FrameAllocator, per_frame: int) -> None:
        self.frames = frames
        self.per_frame = per_frame
        self.peak = 0
        self.moved = 0
        """Checkpoints moved since the start."""
        self._all = ones(per_frame)
        self.clear()

    def clear(self) -> None:
        """Forget everything; the frames are cleared by whoever owns them."""
        self.count = 0
        self._used: dict[int, int] = {}  # frame -> bitmap of its places in use
        self._open: SortedList[tuple[int, int]] = SortedList()  # (-in use, frame), not full

    @property
    def num_frames(self) -> int:
        """Frames that hold checkpoints."""
        return len(self._used)

    @property
    def open(self) -> int:
        """Free places inside those frames."""
        return len(self._used) * self.per_frame - self.count

    def frame_of(self, checkpoint: int) -> int:
        return checkpoint // self.per_frame

    def in_frame(self, frame: int) -> list[int]:
        """The checkpoints in a frame."""
        used, first = self._used.get(frame, 0), frame * self.per_frame
        return [first + at for at in range(self.per_frame) if used >> at & 1]

    def alloc(self) -> int | None:
        """A place; None, and no change, when none is open and no frame is to be had."""
        if not self._open:
            frame = self.frames.take_frame()
            if frame is None:
                return None
            self._used[frame] = 0
            self._open.add((0, frame))
        self.count += 1
        self.peak = max(self.peak, self.count)
        return self._fill(self._open[0][1])

    def free(self, checkpoints: tuple[int, ...] | list[int]) -> None:
        """Give places back.  DoubleFree, and no change, for one not in use or named twice."""
        for i, one in enumerate(checkpoints):
            used = self._used.get(self.frame_of(one), 0)
            if not used >> one % self.per_frame & 1 or one in checkpoints[:i]:
                raise DoubleFree(f"checkpoint {one} of {list(checkpoints)}: not in use")
        for one in checkpoints:
            self.count -= 1
            self._vacate(one)

    def start_pack(self, kept: Set[int]) -> list[CheckpointMove]:
        """Take places in other frames for all checkpoints of the emptiest one.

        Both places of each are in use: copy, then `finish_pack`.  Frames in `kept` are not
        emptied, but filled.  Nothing, and no change, when the others have too few places.
        """
        if self.open < self.per_frame:  # with a frame gone, so many of its places must be left
            return []
        for _, frame in reversed(self._open):
            if frame not in kept:
                return self._empty(frame)
        return []

    def _empty(self, frame: int) -> list[CheckpointMove]:
        leaving = self.in_frame(frame)
        self._open.remove((-len(leaving), frame))  # not a place to go to
        moves = [CheckpointMove(one, self._fill(self._open[0][1])) for one in leaving]
        self._open.add((-len(leaving), frame))
        self.count += len(moves)
        return moves

    def finish_pack(self, moves: list[CheckpointMove]) -> None:
        """The copies are under way, before all that will be written later: the frame is free."""
        self.free([move.source for move in moves])
        self.moved += len(moves)

    def _fill(self, frame: int) -> int:
        """Use the lowest open place of a frame."""
        used = self._used[frame]
        at = (~used & (used + 1)).bit_length() - 1
        self._refile(frame, used, used | 1 << at)
        return frame * self.per_frame + at

    def _vacate(self, checkpoint: int) -> None:
        frame, at = divmod(checkpoint, self.per_frame)
        used = self._used[frame]
        self._refile(frame, used, used & ~(1 << at))
        if not self._used[frame]:
            del self._used[frame]
            self._open.remove((0, frame))
            self.frames.give_frame(frame)

    def _refile(self, frame: int, before: int, after: int) -> None:
        if before != self._all:
            self._open.remove((-before.bit_count(), frame))
        if after != self._all:
            self._open.add((-after.bit_count(), frame))
        self._used[frame] = after

    def violations(self) -> list[str]:
        """Counters and order against the bitmaps, and frames against their kinds.  Read only."""
        kinds = self.frames.kind
        checks: dict[str, tuple[object, object]] = {
            "checkpoints": (self.count, sum(used.bit_count() for used in self._used.values())),
            "checkpoint frames": (
                sorted(self._used),
                [frame for frame, kind in enumerate(kinds) if kind == CHECKPOINTS],
            ),
            "empty checkpoint frames": ([], [f for f, used in self._used.items() if not used]),
            "open checkpoint frames": (
                list(self._open),
                sorted((-u.bit_count(), f) for f, u in self._used.items() if u != self._all),
            ),
        }
        return [f"I1 {name}: {a} != {b}" for name, (a, b) in checks.items() if a != b]
