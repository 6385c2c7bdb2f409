"""When what a cache holds is needed next, for somebody who knows the trace."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from cachepawl.offline.bounds.runs import ROOT, Runs

NEVER = float("inf")
LOOK = 8
"""Passes that are looked at before the state counts as needed at the last one of them."""


class Future:
    """The passes to come of every run, and where the cache has states now.

    Depths are tokens, times are numbers of requests.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._passes = [array("q") for _ in runs.end]
        for request in range(len(runs.last)):
            for run in runs.path(request):
                self._passes[run].append(request)
        self._states: list[dict[int, int]] = [{} for _ in runs.end]
        """Of each run, depths of states and who holds them."""

    def note_state(self, run: int, depth: int, holder: int) -> None:
        """The cache has a state there; `holder` names what holds it."""
        self._states[run][depth] = holder

    def drop_state(self, run: int, depth: int, holder: int) -> None:
        """This holder has it no more; another one may."""
        if self._states[run].get(depth) == holder:
            del self._states[run][depth]

    def next_use(self, run: int, depth: int, now: int) -> float:
        """The first request after `now` that would start from here; NEVER if none will.

        One that finds a state deeper on its path would not.
        """
        passes = self._passes[run]
        first = bisect_right(passes, now)
        request: float = NEVER
        for request in passes[first : first + LOOK]:
            if self.runs.limit(request) >= depth and not self._served_deeper(request, run, depth):
                return request
        return request if len(passes) > first + LOOK else NEVER

    def next_pass(self, run: int, now: int) -> float:
        """The first request after `now` that passes the run; NEVER if none will."""
        passes = self._passes[run]
        first = bisect_right(passes, now)
        return passes[first] if first < len(passes) else NEVER

    def _served_deeper(self, request: int, run: int, depth: int) -> bool:
        limit = self.runs.limit(request)
        below = self.runs.last[request]
        while below != ROOT:
            if any(depth < state <= limit for state in self._states[below]):
                return True
            if below == run:
                return False
            below = self.runs.parent[below]
        return False
