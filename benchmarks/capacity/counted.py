"""Layouts without places: an ideal fluid of bytes, and a split fixed at the start."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.capacity.workload import STATES, Arrival
from cachepawl.pool.geometry import Geometry


class Amount(NamedTuple):
    """Pages and states."""

    pages: int
    states: int


Fits = Callable[[Amount], bool]


class Counted:
    """Whatever `fits` allows is there; the oldest of what is cached goes first."""

    bytes_moved = 0
    worst_burst_bytes = 0

    def __init__(self, name: str, geometry: Geometry, fits: Fits) -> None:
        self.name = name
        self._page, self._state = geometry.page_bytes, geometry.state_bytes
        self._fits = fits
        self._held = Amount(0, 0)
        self._running: dict[int, int] = {}
        self._cached: OrderedDict[int, int] = OrderedDict()

    def serves(self, request: Arrival) -> bool:
        """Whether an empty layout has room for the request."""
        return self._fits(Amount(request.pages, STATES))

    def admit(self, request: Arrival, owed: int) -> bool:
        cached = Amount(sum(self._cached.values()), len(self._cached))
        running = Amount(self._held.pages - cached.pages, self._held.states - cached.states)
        if not self._fits(Amount(running.pages + owed + request.pages, running.states + STATES)):
            return False
        self._running[request.number] = 0
        self._add(request.number, request.prompt)
        self._take(0, STATES)
        return True

    def grow(self, numbers: list[int]) -> None:
        for number in numbers:
            self._add(number, 1)

    def _add(self, number: int, pages: int) -> None:
        self._take(pages, 0)
        self._running[number] += pages

    def _take(self, pages: int, states: int) -> None:
        self._held = Amount(self._held.pages + pages, self._held.states + states)
        while not self._fits(self._held):
            _, gone = self._cached.popitem(last=False)
            self._give(gone, 1)

    def _give(self, pages: int, states: int) -> None:
        self._held = Amount(self._held.pages - pages, self._held.states - states)

    def finish(self, number: int, *, keep: bool) -> None:
        pages = self._running.pop(number)
        if keep:
            self._cached[number] = pages
            self._give(0, STATES - 1)
        else:
            self._give(pages, STATES)

    def live_bytes(self) -> int:
        return self._held.pages * self._page + self._held.states * self._state


def fluid(geometry: Geometry, budget: int) -> Counted:
    """Bytes alone count: what no real layout can beat."""
    page, state = geometry.page_bytes, geometry.state_bytes
    return Counted("fluid", geometry, lambda a: a.pages * page + a.states * state <= budget)


def static(geometry: Geometry, budget: int, share: float) -> Counted:
    """`share` of the budget is for states, the rest for KV, for good."""
    states = int(budget * share) // geometry.state_bytes
    pages = (budget - states * geometry.state_bytes) // geometry.page_bytes
    return Counted("static", geometry, lambda a: a.pages <= pages and a.states <= states)
