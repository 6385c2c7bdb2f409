"""Pages that change their place: what a transfer holds still, and moves in two steps."""

from __future__ import annotations

from cachepawl.errors import ArgumentError, DoubleFree
from cachepawl.pool.bits import ones
from cachepawl.pool.frame_table import KV
from cachepawl.pool.kv_pages import KvPages
from cachepawl.pool.moves import Moves
from cachepawl.types import Runs


class MovablePages(KvPages):
    """Carries out what `evacuation` plans."""

    def hold_still(self, runs: Runs) -> None:
        """A transfer reads or writes these pages: their frames are not evacuated until `let_go`."""
        for frame, count in runs.by_frame(self.pages_per_frame):
            self._still[frame] = self._still.get(frame, 0) + count

    def let_go(self, runs: Runs) -> None:
        """The transfer has ended.  DoubleFree, and no change, for pages that were not held."""
        parts = runs.by_frame(self.pages_per_frame)
        for frame, count in parts:
            if self._still.get(frame, 0) < count:
                raise DoubleFree(f"{runs}: frame {frame} has {self._still.get(frame, 0)} held")
        for frame, count in parts:
            self._still[frame] -= count
            if not self._still[frame]:
                del self._still[frame]

    def is_still(self, frame: int) -> bool:
        """Whether a transfer holds pages of the frame where they are."""
        return frame in self._still

    def held_still(self) -> dict[int, int]:
        """Pages that transfers hold, by frame."""
        return dict(self._still)

    def start_moves(self, moves: Moves) -> None:
        """The targets are in use and pinned; the sources still are.  Copy, then `finish_moves`.

        Reservations give way.  ArgumentError, and no change, unless every source is pinned,
        or at least in use, and every target a different free page of a frame with KV.
        """
        pieces = [(*divmod(m.target, self.pages_per_frame), m.pages) for m in moves.every]
        self._refuse_targets(pieces)
        for first, count in moves.sources.runs:
            for page in (first, first + count - 1):
                if not self.is_used(page):
                    raise ArgumentError(f"page {page} is to be moved and is not in use")
        for frame, at, count in pieces:
            if self._held[frame] & ones(count, at):
                self._open_reservations(frame, at, count)
            self._use(frame, at, count)
            self._refile(frame)

    def _refuse_targets(self, pieces: list[tuple[int, int, int]]) -> None:
        seen: dict[int, int] = {}
        for frame, at, count in pieces:
            bits = ones(count, at)
            known = 0 < frame < self.num_frames and self.kind[frame] == KV
            if not known or (self._used[frame] | seen.get(frame, 0)) & bits or bits & ~self._all:
                first = frame * self.pages_per_frame + at
                raise ArgumentError(f"pages [{first}, {first + count}) are no free pages of a frame"
                                    f" with KV: nothing can be moved there")  # fmt: skip
            seen[frame] = seen.get(frame, 0) | bits

    def _open_reservations(self, frame: int, at: int, count: int) -> None:
        start = frame * self.pages_per_frame + at
        for row in [r for r, (a, b) in self._reserved.items() if a < start + count and start < b]:
            self.drop_reservation(row)

    def finish_moves(self, moves: Moves) -> None:
        """The copy is under way, before all that will be written later: the sources are free."""
        self.free_pinned(moves.sources)
