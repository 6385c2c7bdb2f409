"""How long requests waited for their loads, and how often a whole step did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Waits:
    """Totals; a request's wait ends when its load has, or when it gives up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._requests = self._steps = 0
        self._seconds = self._step_seconds = 0.0

    def begin(self, rid: str) -> None:
        """A request waits; no change for one that does already."""
        self._since.setdefault(rid, self._clock())

    def end(self, rid: str) -> None:
        """It does not any more.  Safe for any name."""
        since = self._since.pop(rid, None)
        if since is not None:
            self._requests += 1
            self._seconds += self._clock() - since

    def end_unless(self, waits: Callable[[str], bool]) -> None:
        """Whoever does not wait any more.  Costs those who did."""
        for rid in [rid for rid in self._since if not waits(rid)]:
            self.end(rid)

    @contextmanager
    def step(self) -> Iterator[None]:
        """What is inside stops a whole step."""
        begun = self._clock()
        yield
        self._steps += 1
        self._step_seconds += self._clock() - begun

    def clear(self) -> None:
        """Nobody waits."""
        self._since.clear()

    def stats(self) -> dict[str, int]:
        """Totals, in the names of `HostTier.stats`."""
        return {
            "host_waits": self._requests,
            "host_wait_ms": int(1000 * self._seconds),
            "host_step_waits": self._steps,
            "host_step_wait_ms": int(1000 * self._step_seconds),
        }
