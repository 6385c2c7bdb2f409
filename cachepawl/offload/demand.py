"""How much a device needs free so that what is evicted could be written before.

A policy that writes before eviction has to be ahead of the allocations.  How far follows from
what they took between two looks: the most of late, forgotten little by little.
"""

from __future__ import annotations

from cachepawl.cache import HybridPrefixCache

FORGETS = 64
"""After so many smaller demands about two thirds of a peak are forgotten."""
MOST = 4
"""At most one `MOST`-th of the arena is kept free."""


class Demand:
    """Watches one cache; every look O(1)."""

    def __init__(self, cache: HybridPrefixCache, least: int) -> None:
        """`least`: frames that are wanted free in any case."""
        self._cache = cache
        self._least = least
        self._peak = 0
        """In 1 / `FORGETS` frames."""
        self._before = self._supply()

    def _supply(self) -> int:
        """Bytes free, less all that were ever evicted: what only allocations lessen."""
        cache, geometry = self._cache, self._cache.geometry
        evicted = cache.counters.evicted_tokens * geometry.entry_bytes
        evicted += cache.counters.evicted_states * geometry.frame_bytes
        return cache.frames.free_frames * geometry.frame_bytes - evicted

    def look(self) -> None:
        """Take note of what was allocated since the latest `mark`."""
        frame = self._cache.geometry.frame_bytes
        taken = max(0, FORGETS * (self._before - self._supply()) // frame)
        if taken:
            self._peak = max(taken, self._peak - self._peak // FORGETS)

    def mark(self) -> None:
        """What comes later counts for the next look."""
        self._before = self._supply()

    @property
    def state(self) -> tuple[int, int]:
        """All that it remembers."""
        return self._peak, self._before

    @property
    def frames(self) -> int:
        """Frames that should be free now."""
        most = self._cache.geometry.usable_frames // MOST
        return max(self._least, min(-(-self._peak // FORGETS), most))
