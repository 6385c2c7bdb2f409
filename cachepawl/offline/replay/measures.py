"""What a replay counts: sums, and the same sums in windows of equally many requests.

Windows are merged two by two when they become too many, so memory and cost do not grow
with the trace.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from cachepawl.cache import HybridPrefixCache
from cachepawl.offline.replay.occupancy import Occupancy, occupancy_of
from cachepawl.specs import ModelSpec
from cachepawl.tree import Miss

MOST_WINDOWS = 200


class Seen(NamedTuple):
    """One request's admission; tokens, and seconds of the trace."""

    at: float
    prompt: int
    usable: int
    missed: list[Miss]


@dataclass(slots=True)
class Window:
    """Sums over requests that came one after the other; tokens unless the name says otherwise."""

    first_at: float
    last_at: float
    requests: int = 0
    prompt: int = 0
    hit: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Prompt tokens that were computed, by reason."""
    flops: int = 0
    """Of prefilling every prompt whole."""
    flops_saved: int = 0
    evicted_tokens: int = 0
    evicted_states: int = 0
    refused: int = 0
    """Requests that do not fit the empty cache; in no other number."""
    refused_tokens: int = 0
    bytes_held: list[int] = field(default_factory=lambda: [0] * len(Occupancy._fields))
    """Sums of `Occupancy`, one a request."""

    @property
    def hit_rate(self) -> float:
        """Of prompt tokens; 0 where there were none."""
        return self.hit / self.prompt if self.prompt else 0.0

    def mean_occupancy(self) -> Occupancy:
        """Bytes, the mean over the requests' admissions."""
        count = max(self.requests, 1)
        return Occupancy(*(held // count for held in self.bytes_held))

    def merge(self, other: Window) -> None:
        """Add what came after."""
        self.last_at = other.last_at
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.missed.update(other.missed)
        self.bytes_held = [a + b for a, b in zip(self.bytes_held, other.bytes_held, strict=True)]


_SUMS = (
    "requests",
    "prompt",
    "hit",
    "flops",
    "flops_saved",
    "evicted_tokens",
    "evicted_states",
    "refused",
    "refused_tokens",
)


class Measures:
    """Watches one replay.  `add` costs the same however much came before."""

    def __init__(self, spec: ModelSpec, budget: int, most_windows: int = MOST_WINDOWS) -> None:
        """`most_windows`: at least 2."""
        self.spec = spec
        self.budget = budget
        self.windows: list[Window] = []
        self.width = 1
        """Requests of a whole window."""
        self._most = most_windows
        self._in_last = 0
        self._evicted = 0, 0

    def add(self, seen: Seen, cache: HybridPrefixCache) -> None:
        """A request was admitted and prefilled."""
        window = self._window(seen.at)
        window.requests += 1
        window.prompt += seen.prompt
        window.hit += seen.usable
        for miss in seen.missed:
            window.missed[miss.reason.value] += miss.tokens
        window.flops += self.spec.prefill_flops(seen.prompt)
        window.flops_saved += self.spec.prefill_flops(seen.usable)
        self._count_evictions(window, cache)
        held = window.bytes_held
        for i, size in enumerate(occupancy_of(cache, self.budget)):
            held[i] += size

    def finish(self, cache: HybridPrefixCache) -> None:
        """The last request has ended."""
        if self.windows:
            self._count_evictions(self.windows[-1], cache)

    def _count_evictions(self, window: Window, cache: HybridPrefixCache) -> None:
        tokens, states = self._evicted
        self._evicted = cache.counters.evicted_tokens, cache.counters.evicted_states
        window.evicted_tokens += self._evicted[0] - tokens
        window.evicted_states += self._evicted[1] - states

    def refuse(self, at: float, prompt: int) -> None:
        """A request cannot fit even alone."""
        window = self._window(at)
        window.refused += 1
        window.refused_tokens += prompt

    def total(self) -> Window:
        """All windows as one."""
        total = Window(0.0, 0.0)
        if self.windows:
            total.first_at = self.windows[0].first_at
        for window in self.windows:
            total.merge(window)
        return total

    def _window(self, at: float) -> Window:
        """The window of a request that comes at `at`."""
        if self._in_last == self.width or not self.windows:
            if len(self.windows) == self._most:
                self._halve()
            self.windows.append(Window(at, at))
            self._in_last = 0
        self._in_last += 1
        last = self.windows[-1]
        last.last_at = at
        return last

    def _halve(self) -> None:
        """Merge neighbours; an odd one at the end stays open."""
        pairs = self.windows
        for left, right in zip(pairs[::2], pairs[1::2], strict=False):
            left.merge(right)
        self.windows = pairs[::2]
        self.width *= 2
