"""One scenario, replayed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures, Window
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.tiers import WithHost
from cachepawl.offline.traces.request import TraceRequest


class Outcome(NamedTuple):
    """What a replay found."""

    scenario: Scenario
    total: Window
    windows: list[Window]
    width: int
    """Requests of a window."""
    counters: dict[str, int]
    """Of the cache and its frames, at the end."""
    peak_stranded: int
    """Bytes."""
    host: dict[str, int | float]
    """What the host tier did; empty without one."""
    seconds: float
    """Of this process's CPU."""


def replay(scenario: Scenario, requests: Iterable[TraceRequest]) -> Outcome:
    """Replay all requests in an empty cache.  Memory: the cache and a fixed number of windows.

    InputError, and for models that the arena cannot hold ConfigError, before the first request.
    """
    scenario.check()
    started = time.process_time()
    measures = Measures(scenario.spec, scenario.budget)
    engine = Engine(scenario, measures)
    engine.play(requests)
    return Outcome(
        scenario,
        measures.total(),
        measures.windows,
        measures.width,
        engine.cache.stats(),
        engine.cache.frames.counters.peak_stranded_pages * scenario.geometry.page_bytes,
        engine.tiers.figures() if isinstance(engine.tiers, WithHost) else {},
        time.process_time() - started,
    )
