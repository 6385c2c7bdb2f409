"""Sums in windows: nothing is lost by merging, and nothing grows with the trace."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import SPECS, request, scenario

from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures, Seen
from cachepawl.offline.replay.occupancy import occupancy_of
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.tree import Miss, Reason


@given(st.lists(st.integers(1, 99), min_size=1, max_size=120), st.sampled_from([2, 3, 4, 10]))
@settings(max_examples=60)
def test_windows_hold_every_request_once_and_in_order(prompts: list[int], most: int) -> None:
    cache = scenario("mamba").make_cache()
    measures = Measures(SPECS["mamba"], 1 << 24, most_windows=most)
    for i, prompt in enumerate(prompts):
        if prompt == 99:
            measures.refuse(float(i), prompt)
            continue
        missed = [Miss(Reason.NOTHING_CACHED, prompt - prompt // 2, prompt)]
        measures.add(Seen(float(i), prompt, prompt // 2, missed), cache)
    windows, total = measures.windows, measures.total()
    assert len(windows) <= most
    assert all(w.requests + w.refused <= measures.width for w in windows)
    assert total.requests + total.refused == len(prompts)
    assert total.prompt == sum(p for p in prompts if p < 99)
    assert total.hit == sum(p // 2 for p in prompts if p < 99)
    assert total.missed[Reason.NOTHING_CACHED.value] == total.prompt - total.hit
    assert windows[0].first_at == 0.0
    assert windows[-1].last_at == len(prompts) - 1
    assert all(a.last_at + 1 == b.first_at for a, b in pairwise(windows))


def test_saved_flops_are_those_of_the_tokens_hit() -> None:
    spec = SPECS["mamba"]
    found = replay(scenario("mamba"), [request(range(33)), request(range(40))])
    assert found.total.flops == spec.prefill_flops(33) + spec.prefill_flops(40)
    assert found.total.flops_saved == spec.prefill_flops(32)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("mamba", "auto"), ("mamba", "int8"), ("attention", "auto")]
)
def test_occupancy_by_hand(kind: str, dtype: str) -> None:
    wanted = scenario(kind, 20, running=2, checkpoint_dtype=dtype)
    engine = Engine(wanted, Measures(wanted.spec, wanted.budget))
    engine.admit(request(range(20), output=21))
    found = occupancy_of(engine.cache, wanted.budget)
    geometry = wanted.geometry
    # 16 tokens of "mamba" are in the tree with a state, of "attention" all 5 pages; half of the
    # answer has come.
    assert found.cached_kv == (16 if kind == "mamba" else 20) * geometry.entry_bytes
    assert found.running_kv == (16 if kind == "mamba" else 12) * geometry.entry_bytes
    states = 1 if kind == "mamba" else 0
    kept = geometry.kept_bytes
    assert (kept < geometry.state_bytes) == (dtype == "int8")
    assert found.cached_states == states * kept
    assert found.running_states == 3 * states * geometry.state_bytes
    unused = 4 * geometry.frame_bytes - 3 * geometry.state_bytes - kept
    assert found.padding == states * unused
    assert found.reserve == geometry.frame_bytes + 5
    assert sum(found) == wanted.budget


def stream(count: int) -> Iterator[TraceRequest]:
    """Prompts that share a little with the one before."""
    for i in range(count):
        yield request([*range(i, i + 16), *range(10**6 + 99 * i, 10**6 + 99 * i + 24)], 30, i)


def test_memory_does_not_grow_with_the_trace() -> None:
    wanted = scenario("mamba", 30, remembered=200)

    def peak(count: int) -> int:
        engine = Engine(wanted, Measures(wanted.spec, wanted.budget, most_windows=10))
        gc.collect()
        tracemalloc.start()
        try:
            engine.play(stream(count))
            assert engine.measures.total().requests == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    short, long = peak(2200), peak(5000)
    assert long < 1.1 * short


def test_the_same_trace_gives_the_same_result() -> None:
    wanted = scenario("mamba", 30, running=3, answers="publish")
    first, second = (replay(wanted, stream(300)) for _ in range(2))
    assert first._replace(seconds=0) == second._replace(seconds=0)
