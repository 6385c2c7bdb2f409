"""The cache's numbers in SGLang's `/metrics`, for a server with `--enable-metrics`.

Prometheus is asked in another process, which reads what this one has written to shared files.  So
numbers are pushed, not pulled: at most once a second, from the steps of the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cachepawl.observe.counters import CacheCounters
from cachepawl.observe.series import SERIES, Series
from cachepawl.pool.geometry import Geometry

PREFIX = "sglang:cachepawl_"
EVERY = 1.0
"""Seconds between two pushes; one takes about 0.2 ms."""


class Metrics:
    """What one rank pushes, beside and with the labels of SGLang's own cache metrics."""

    def __init__(
        self,
        collector: Any,
        stats: Callable[[], Mapping[str, int]],
        counters: CacheCounters,
        geometry: Geometry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`collector`: SGLang's, of this cache."""
        # Only after SGLang has named the folder of the shared files.
        import prometheus_client

        self._make = prometheus_client
        self._collector = collector
        self._labels = dict(collector.labels)
        self._stats = stats
        self._counters = counters
        self._geometry = geometry
        self._clock = clock
        self._next = clock()
        self._series: dict[str, Any] = {}
        self._before: dict[str, int] = {}

    def push_if_due(self) -> None:
        """Push when a second has gone by since the latest time.  Cheap when not."""
        now = self._clock()
        if now >= self._next:
            self._next = now + EVERY
            self.push()

    def push(self) -> None:
        """Everything, now."""
        stats = self._stats()
        for name, value in stats.items():
            found = SERIES.get(name) or Series(name, False, name)
            if found.total:
                self._counter(PREFIX + name, found.text).inc(self._more(name, value))
            else:
                self._gauge(PREFIX + name, found.text).set(value)
        for reason, tokens in self._counters.missed.items():
            text = "prompt tokens not served from the cache, by reason"
            missed = self._counter(f"{PREFIX}missed_tokens", text, reason=reason)
            missed.inc(self._more(f"missed {reason}", tokens))
        if "host_frames" in stats:
            self._push_as_sglang(stats)

    def _more(self, name: str, value: int) -> int:
        """What a total has grown since the latest push."""
        more = value - self._before.get(name, 0)
        self._before[name] = value
        return more

    def _push_as_sglang(self, stats: Mapping[str, int]) -> None:
        """What SGLang's own host cache says too, under its names."""
        for name, value in host_occupancy(stats, self._geometry).items():
            self._gauge(f"sglang:hicache_host_{name}", "see SGLang").set(value)
        to, more = self._collector, self._more
        to.increment_load_back_num_bytes(more("load bytes", stats["host_load_bytes"]))
        to.increment_load_back_num_tokens(more("load tokens", stats["host_load_tokens"]), "kv")
        to.increment_backup_num_bytes(more("write bytes", stats["host_write_bytes"]))

    def _counter(self, name: str, text: str, **more: str) -> Any:
        made = self._series.get(name)
        if made is None:
            labels = [*self._labels, *more]
            made = self._series[name] = self._make.Counter(name, text, labels)
        return made.labels(**self._labels, **more)

    def _gauge(self, name: str, text: str) -> Any:
        made = self._series.get(name)
        if made is None:
            made = self._series[name] = self._make.Gauge(
                name, text, list(self._labels), multiprocess_mode="mostrecent"
            )
        return made.labels(**self._labels)


def host_occupancy(stats: Mapping[str, int], geometry: Geometry) -> dict[str, int]:
    """The host's occupancy in the units of SGLang's host cache, by the end of its names.

    One budget holds both kinds, so either total is what fits where the other kind is not.
    """
    page, frames = geometry.page_tokens, stats["host_frames"]
    out = {
        "used_tokens": stats["host_pages_in_use"] * page,
        "total_tokens": frames * geometry.pages_per_frame * page,
    }
    if geometry.state is not None:
        out |= {"mamba_used_states": stats["host_frames_state"], "mamba_total_states": frames}
    return out
