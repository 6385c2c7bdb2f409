"""Public traces, where they are at hand: read whole, in time, and bounded as measured before."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from cachepawl.offline.bounds import Bytes, runs_of, upper_bound
from cachepawl.offline.traces import Trace, open_trace

TRACES = next(
    (p / "shared/traces" for p in Path(__file__).parents if (p / "shared/traces").is_dir()), None
)
QWEN3_NEXT = Bytes(kv=24_576, state=77_266_944)
GB = 10**9
MOST_SECONDS = 3.0
"""For 12,031 requests with their keys, on one core."""
MOST_BOUND_SECONDS = 60.0

pytestmark = pytest.mark.skipif(TRACES is None, reason="no shared/traces above this file")


def trace(name: str) -> Trace:
    assert TRACES is not None
    return open_trace(TRACES / f"{name}.jsonl.gz")


@pytest.mark.parametrize(
    ("name", "requests", "tokens"),
    [
        ("mooncake/conversation_trace", 12_031, 144_793_823),
        ("mooncake/synthetic_trace", 3_993, 61_194_628),
    ],
)
def test_all_of_a_trace_in_time(name: str, requests: int, tokens: int) -> None:
    start, last, count, total = time.process_time(), 0.0, 0, 0
    for request in trace(name).requests():
        assert request.at >= last
        last = request.at
        count += 1
        total += len(request.key.tokens) // 8
    assert (count, total) == (requests, tokens)
    assert time.process_time() - start < MOST_SECONDS


def test_sessions_share_their_tools_and_no_more() -> None:
    assert TRACES is not None
    sessions, first = set(), {}
    for request in islice(trace("claude-code/conversations").requests(), 600):
        sessions.add(request.conversation)
        first.setdefault(request.conversation, request.key.tokens[:8])
    assert len(sessions) // 2 < len(set(first.values())) < len(sessions), "some share their tools"


@pytest.mark.parametrize(
    ("name", "gigabytes", "known"),
    [("conversation", 80, 35.3), ("synthetic", 40, 45.1)],
)
def test_bounds_as_an_independent_search_found_them(
    name: str, gigabytes: int, known: float
) -> None:
    """Another search over prices, per cent of prompt tokens; either may stop a little above."""
    runs = runs_of(trace(f"mooncake/{name}_trace").requests(), 512, 512)
    start = time.process_time()
    bound = upper_bound(runs, QWEN3_NEXT, gigabytes * GB)
    assert time.process_time() - start < MOST_BOUND_SECONDS
    assert 100 * bound / sum(runs.tokens) == pytest.approx(known, abs=0.35)
