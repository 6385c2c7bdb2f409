"""Which pages are in use, and which of those eviction cannot free."""

from __future__ import annotations

from cachepawl.pool.bits import ones
from cachepawl.pool.frame_capacity import FrameCapacity
from cachepawl.types import Runs


class FramePins(FrameCapacity):
    """A page is *pinned* while a request holds it or its tree node is locked."""

    def pin(self, *parts: Runs) -> None:
        """Pages that were evictable no longer are."""
        self._shift_pins(parts, 1)

    def unpin(self, *parts: Runs) -> None:
        """Pages become evictable."""
        self._shift_pins(parts, -1)

    def _shift_pins(self, parts: tuple[Runs, ...], sign: int) -> None:
        """Add to the pins of every frame that the runs touch.  Locks of long paths end here."""
        full, pinned = self.pages_per_frame, self._pinned
        pages = frames = 0
        for runs in parts:
            pages += runs.count
            for frame, here in runs.by_frame(full):
                before = pinned[frame]
                pinned[frame] = after = before + sign * here
                if not before or not after:
                    frames += sign
        self.pinned_pages += sign * pages
        self.pinned_frames += frames

    def _pin(self, frame: int, count: int) -> None:
        before = self._pinned[frame]
        after = self._pinned[frame] = before + count
        self.pinned_pages += count
        self.pinned_frames += (after > 0) - (before > 0)

    def _use(self, frame: int, at: int, count: int) -> None:
        """Mark free, unreserved pages of a KV frame as in use and pinned; `_refile` it after."""
        self._used[frame] |= ones(count, at)
        self._count[frame] += count
        self.kv_pages += count
        self._pin(frame, count)

    def _refile(self, frame: int) -> None:
        """Keep `_partial` the KV frames with open pages, by pages in use or reserved."""
        taken = self._count[frame] + self._held[frame].bit_count()
        key = -taken if self._count[frame] and taken < self.pages_per_frame else 0
        old = self._key[frame]
        if key != old:
            if old:
                self._partial.remove((old, frame))
            if key:
                self._partial.add((key, frame))
            self._key[frame] = key
