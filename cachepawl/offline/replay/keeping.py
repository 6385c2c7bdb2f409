"""What a request leaves of its states: slots that change hands, or compressed copies.

The same two as the launcher's.  `slots` are those of the request, changed in place.
"""

from __future__ import annotations

from typing import Protocol

from cachepawl.cache import HybridPrefixCache
from cachepawl.offline.replay.ways import Way


class Keeping(Protocol):
    """One of the two."""

    def of_running(self, slots: list[int]) -> int | None:
        """A state for the tree, which will take it; None on a shortage."""

    def of_finished(self, slots: list[int]) -> int | None:
        """The same of a request that ends; the tree may have one already."""

    def published(self, slots: list[int], state: int | None, taken: bool) -> None:
        """What became of the latter."""


class Slots:
    """The tree gets a slot of the request's, and the request a spare one."""

    def __init__(self, cache: HybridPrefixCache, way: Way) -> None:
        self._cache = cache
        self._way = way

    def of_running(self, slots: list[int]) -> int | None:
        spare = self._cache.try_states(1)
        return None if spare is None else self._way.hand_over(slots, spare[0])

    def of_finished(self, slots: list[int]) -> int | None:
        return slots[-1]

    def published(self, slots: list[int], state: int | None, taken: bool) -> None:
        if taken:
            slots.pop()


class Checkpoints:
    """The tree gets a checkpoint, and the request keeps its slots until it ends."""

    def __init__(self, cache: HybridPrefixCache) -> None:
        self._cache = cache

    def of_running(self, slots: list[int]) -> int | None:
        return self._cache.try_checkpoint()

    def of_finished(self, slots: list[int]) -> int | None:
        self._cache.free_states(slots[:-1])
        del slots[:-1]
        return self._cache.try_checkpoint()

    def published(self, slots: list[int], state: int | None, taken: bool) -> None:
        if state is not None and not taken:
            self._cache.drop_checkpoint(state)


def keeping_of(cache: HybridPrefixCache, way: Way) -> Keeping:
    """How a cache keeps states."""
    return Slots(cache, way) if cache.checkpoints is None else Checkpoints(cache)
