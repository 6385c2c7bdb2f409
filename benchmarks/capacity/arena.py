"""The real thing: `HybridPrefixCache` as the server drives it, with and without evacuation."""

from __future__ import annotations

import time
from array import array

from benchmarks.capacity.workload import STATES, Arrival
from cachepawl.cache import HybridPrefixCache
from cachepawl.evacuation import Admission
from cachepawl.pool.geometry import Geometry
from cachepawl.types import Key


class Frames:
    """Admission by whole frames; pages stay where they are."""

    name = "frames"

    def __init__(self, geometry: Geometry, budget: int) -> None:
        self._geometry = geometry.with_budget(budget)
        self.cache = HybridPrefixCache(self._geometry, states_per_request=STATES)
        self._slots: dict[int, tuple[int, ...]] = {}
        self.decisions: list[float] = []
        """CPU seconds of every burst: choosing, evicting for it, rewriting; no bytes."""

    @property
    def bytes_moved(self) -> int:
        return self.cache.counters.evacuated_pages * self._geometry.page_bytes

    @property
    def worst_burst_bytes(self) -> int:
        return self.cache.counters.largest_evacuation * self._geometry.page_bytes

    def admit(self, request: Arrival, owed: int) -> bool:
        cache, page = self.cache, self._geometry.page_tokens
        if not self._fits((owed + request.pages) * page):
            return False
        self._slots[request.number] = cache.take_states(STATES)
        cache.open_row(request.number, cache.tree.root, 0)
        cache.allocate(request.number, request.prompt * page)
        return True

    def _fits(self, tokens: int) -> bool:
        return self.cache.fits(tokens, STATES)

    def grow(self, numbers: list[int]) -> None:
        if not self.cache.make_room_for_pages(len(numbers)):
            raise AssertionError("pages that were promised are not there")
        self.cache.next_pages(numbers)

    def finish(self, number: int, *, keep: bool) -> None:
        cache, slots = self.cache, self._slots.pop(number)
        shared = 0
        if keep:
            shared = cache.refs.rows[number].count * self._geometry.page_tokens
            key = Key(array("q", [number] * shared).tobytes())
            if cache.publish(number, key, shared, slots[0]).state_taken:
                slots = slots[1:]
        cache.release(number, shared, 1 << 40)
        cache.close_row(number)
        cache.free_states(slots)

    def live_bytes(self) -> int:
        frames, geometry = self.cache.frames, self._geometry
        return frames.kv_pages * geometry.page_bytes + frames.states * geometry.state_bytes


class Evacuating(Frames):
    """The same, and what fits only after packing gets its way: one burst a step at most."""

    name = "evacuation"

    def _fits(self, tokens: int) -> bool:
        if self.cache.fits(tokens, STATES):
            return True
        start, before = time.thread_time(), self.cache.counters.evacuations
        way = self.cache.make_way(tokens, STATES)
        if self.cache.counters.evacuations > before:
            self.decisions.append(time.thread_time() - start)
        return way is Admission.OPEN
