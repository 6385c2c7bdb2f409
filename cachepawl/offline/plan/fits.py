"""How many conversations of a workload a layout serves at once, and how many it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cachepawl.offline.plan.stores import Store
from cachepawl.offline.plan.workload import Need, Workload, need

LIMIT = "request limit"
_MOST = 1 << 40


class Fit(NamedTuple):
    """Of one rank and one workload."""

    at_once: int
    """Requests that can run at the same time, nothing else in the cache."""
    at_once_by: str
    """What keeps one more from running: "KV", "states", "bytes" or "request limit"."""
    running: int
    """Those of the workload that do."""
    cached: int
    """Conversations that the cache keeps beside them, ready for their next turn."""
    cached_by: str
    used_bytes: int
    """By all that is held."""

    @property
    def held(self) -> int:
        """Conversations that need no prefill of what they had: running and cached ones."""
        return self.running + self.cached


def fit(store: Store, w: Workload) -> Fit:
    """Count what fits; zeros where not even one conversation does."""

    def together(running: int, cached: int) -> Need:
        return need(w, store.page_tokens, running, cached, store.states_per_request)

    by_memory = _most(lambda n: not store.short_of(together(n, 0)))
    at_once = min(by_memory, store.request_limit)
    by = LIMIT if at_once < by_memory else store.short_of(together(at_once + 1, 0))
    running = min(w.running, at_once)
    if not running:
        return Fit(0, by, 0, 0, by, 0)
    cached = _most(lambda n: not store.short_of(together(running, n)))
    short = store.short_of(together(running, cached + 1))
    return Fit(at_once, by, running, cached, short, store.bytes_of(together(running, cached)))


def _most(fits: Callable[[int], bool]) -> int:
    """The largest n that fits, where fewer always do; 0 when not even 1 does."""
    low, high = 0, 1
    while high < _MOST and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
