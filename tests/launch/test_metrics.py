"""What is pushed to Prometheus: every number once, totals by what they have grown."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sglang")

import prometheus_client

from cachepawl.observe.counters import CacheCounters
from cachepawl.observe.series import DEVICE, HOST
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl_launch.metrics import EVERY, PREFIX, Metrics

SHAPES = Geometry(KvShape(1, 1, 8, 8, 2), StateShape(1, ((4,),), 4, (8,), 4), 4, 9, frame_pages=2)
LABELS = {"cache_type": "mine", "tp_rank": "0"}


class Collector:
    """SGLang's, as far as it is used: it remembers what it is told."""

    labels = LABELS

    def __init__(self) -> None:
        self.told: dict[str, int] = {}

    def increment_load_back_num_bytes(self, count: int) -> None:
        self.told["load"] = self.told.get("load", 0) + count

    def increment_load_back_num_tokens(self, count: int, pool: str) -> None:
        self.told[pool] = self.told.get(pool, 0) + count

    def increment_backup_num_bytes(self, count: int) -> None:
        self.told["write"] = self.told.get("write", 0) + count


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Series of their own, as a process has them."""
    mine = prometheus_client.CollectorRegistry()
    for kind in ("Counter", "Gauge"):
        plain = getattr(prometheus_client, kind)

        def make(*args: Any, plain: Any = plain, **kwargs: Any) -> Any:
            return plain(*args, registry=mine, **kwargs)

        monkeypatch.setattr(prometheus_client, kind, make)
    return mine


def test_all_of_it_and_no_total_twice(registry: Any) -> None:
    stats = {series.name: 2 + i for i, series in enumerate((*DEVICE, *HOST))}
    counters, collector = CacheCounters(), Collector()
    now = 10.0
    metrics = Metrics(collector, lambda: stats, counters, SHAPES, lambda: now)
    counters.missed["evicted"] += 7
    for more in (0, 5):
        stats = {name: value + more for name, value in stats.items()}
        metrics.push_if_due()
        metrics.push_if_due()  # not due: nothing happens
        for series in (*DEVICE, *HOST):
            name = PREFIX + series.name + ("_total" if series.total else "")
            assert registry.get_sample_value(name, LABELS) == stats[series.name], name
        assert collector.told == {
            "load": stats["host_load_bytes"],
            "write": stats["host_write_bytes"],
            "kv": stats["host_load_tokens"],
        }
        now += EVERY
    why = LABELS | {"reason": "evicted"}
    assert registry.get_sample_value(f"{PREFIX}missed_tokens_total", why) == 7
    used = registry.get_sample_value("sglang:hicache_host_used_tokens", LABELS)
    assert used == stats["host_pages_in_use"] * 4


def test_a_number_without_a_name_is_said_too(registry: Any) -> None:
    """What somebody adds to `stats` and forgets here must not stop a server."""
    metrics = Metrics(Collector(), lambda: {"new": 3}, CacheCounters(), SHAPES)
    metrics.push()
    assert registry.get_sample_value(PREFIX + "new", LABELS) == 3
