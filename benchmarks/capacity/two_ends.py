"""What SGLang's unified memory pool does with the workload: requests and a cache over `Ends`.

What a batch needs is taken at once, as SGLang takes it: first the oldest of what is cached goes
until all of it fits, then the other end is packed, if need be, once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from benchmarks.capacity.ends import End, Ends
from benchmarks.capacity.workload import STATES, Arrival
from cachepawl.pool.geometry import Geometry


class TwoEnds:
    """Both ends over one budget, and the oldest of what is cached."""

    name = "two ends"

    def __init__(
        self, geometry: Geometry, budget: int, ends: Callable[[Geometry, int], Ends] = Ends
    ) -> None:
        self.ends = ends(geometry, budget)
        self._running: dict[int, tuple[list[int], list[int]]] = {}
        self._cached: OrderedDict[int, tuple[list[int], list[int]]] = OrderedDict()
        self._cached_bytes = 0

    @property
    def bytes_moved(self) -> int:
        return self.ends.bytes_moved

    @property
    def worst_burst_bytes(self) -> int:
        return self.ends.worst_burst_bytes

    def live_bytes(self) -> int:
        return self.ends.budget - self.ends.free_bytes()

    def admit(self, request: Arrival, owed: int) -> bool:
        kv, states = self.ends.kv, self.ends.states
        room = self.ends.free_bytes() + self._cached_bytes
        if (owed + request.pages) * kv.unit + STATES * states.unit > room:
            return False
        own_states = self._take(states, STATES)
        pages = self._take(kv, request.prompt)
        self._running[request.number] = pages, own_states
        return True

    def grow(self, numbers: list[int]) -> None:
        pages = self._take(self.ends.kv, len(numbers))
        for number, page in zip(numbers, pages, strict=True):
            self._running[number][0].append(page)

    def finish(self, number: int, *, keep: bool) -> None:
        pages, states = self._running.pop(number)
        if not keep:
            self._give(pages, states)
            return
        self._give([], states[1:])
        self._cached[number] = pages, states[:1]
        self._cached_bytes += self._bytes(pages, states[:1])

    def _bytes(self, pages: list[int], states: list[int]) -> int:
        return len(pages) * self.ends.kv.unit + len(states) * self.ends.states.unit

    def _take(self, end: End, count: int) -> list[int]:
        """Evict until there is room, then take it."""
        while not self.ends.fits(end, count):
            _, (pages, states) = self._cached.popitem(last=False)
            self._cached_bytes -= self._bytes(pages, states)
            self._give(pages, states)
        return self.ends.take(end, count)

    def _give(self, pages: list[int], states: list[int]) -> None:
        self.ends.give(self.ends.kv, pages)
        self.ends.give(self.ends.states, states)
