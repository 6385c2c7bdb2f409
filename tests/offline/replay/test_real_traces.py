"""Mooncake's traces, where they are at hand: against an independent simulation, and in time.

The simulation had no running requests, no pages and no frames: one byte budget, states at
the end of a prompt and at branch points, least recently used first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cachepawl.offline.replay.lines import endless_memory
from cachepawl.offline.replay.outcome import Outcome, replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source
from cachepawl.specs.presets import preset

TRACES = next((p / "shared/traces/mooncake" for p in Path(__file__).parents
               if (p / "shared/traces/mooncake").is_dir()), None)  # fmt: skip
GB = 10**9
MOST_SECONDS = 20
"""For 12,031 requests on one core."""

pytestmark = pytest.mark.skipif(TRACES is None, reason="no shared/traces/mooncake above this file")


def replayed(name: str, gigabytes: int, chunk: int) -> Outcome:
    spec = preset("Qwen3-Next-80B-A3B-Instruct").spec()
    wanted = Scenario(spec, gigabytes * GB, "lru", page=64, grid=512, chunk=chunk)
    return replay(wanted, source(name).requests())


def source(name: str) -> Source:
    assert TRACES is not None
    return Source(TRACES / f"{name}_trace.jsonl.gz")


@pytest.mark.parametrize(
    ("name", "gigabytes", "simulated"), [("conversation", 80, 11.3), ("synthetic", 80, 25.9)]
)
def test_hits_are_those_of_the_simulation(name: str, gigabytes: int, simulated: float) -> None:
    """Chunks as long as any prompt, so that states are where the simulation has them."""
    found = replayed(name, gigabytes, chunk=1 << 17)
    assert 100 * found.total.hit_rate == pytest.approx(simulated, abs=0.3)
    assert found.total.refused == 0


def test_a_replay_is_fast() -> None:
    found = replayed("conversation", 80, chunk=8192)
    assert found.total.requests == 12_031
    assert found.total.prompt == 144_793_823
    assert found.seconds < MOST_SECONDS


def test_endless_memory() -> None:
    spec = preset("Qwen3-Next-80B-A3B-Instruct").spec()
    wanted = Scenario(spec, GB, page=64, grid=512)
    hit = endless_memory(source("synthetic"), wanted)
    prompt = sum(len(r.key.tokens) // 8 for r in source("synthetic").requests())
    assert 100 * hit / prompt == pytest.approx(65.0, abs=0.05)
