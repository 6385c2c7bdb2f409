"""Requests through tiny arenas, checked after every one; what is kept at the end is nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import PAGES, REQUESTS, request, scenario

from cachepawl.errors import InputError
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.traces.request import TraceRequest

SMALLEST = {"mamba": 5, "conv": 3, "attention": 2}
"""Frames that one request of two pages needs, the padding one included."""


def engine_of(wanted: Scenario) -> Engine:
    return Engine(wanted, Measures(wanted.spec, wanted.budget))


@given(
    requests=REQUESTS,
    kind=st.sampled_from([*PAGES, "mamba int8", "mamba fp8"]),
    more=st.integers(0, 12),
    running=st.integers(1, 4),
    chunk=st.sampled_from([8, 24, 64]),
    answers=st.sampled_from(["hold", "publish"]),
)
@settings(max_examples=400)
def test_small_arenas(
    requests: list[TraceRequest], kind: str, more: int, running: int, chunk: int, answers: str
) -> None:
    kind, _, dtype = kind.partition(" ")
    wanted = scenario(
        kind,
        SMALLEST[kind] + more,
        checkpoint_dtype=dtype or "auto",
        running=running,
        chunk=chunk,
        answers=answers,
        check_level=2,
        remembered=200,
    )
    wanted.check()
    engine = engine_of(wanted)
    for one in requests:
        engine.admit(one)
        assert len(engine.running) <= running
    engine.play([])
    cache, total = engine.cache, engine.measures.total()
    assert not engine.running
    assert not cache.refs.rows
    assert not cache.tree.open_locks
    assert cache.row_states == 0
    assert total.requests + total.refused == len(requests)
    assert total.hit + sum(total.missed.values()) == total.prompt
    assert sum(total.bytes_held) == total.requests * wanted.budget
    assert total.evicted_tokens == cache.counters.evicted_tokens
    assert total.evicted_states == cache.counters.evicted_states
    cache.reset()
    assert cache.frames.free_frames == wanted.geometry.usable_frames


@pytest.mark.parametrize("kind", PAGES)
def test_refused_is_what_does_not_fit_alone(kind: str) -> None:
    wanted = scenario(kind, SMALLEST[kind] + 3)
    most = wanted.make_cache().room_for_one_request() - 2 * wanted.page
    found = replay(wanted, [request(range(most)), request(range(most + 1, 2 * most + 2))])
    assert (found.total.requests, found.total.refused) == (1, 1)
    assert found.total.refused_tokens == most + 1
    assert found.total.prompt == most


def test_an_answer_is_cut_to_what_the_empty_arena_holds() -> None:
    wanted = scenario("mamba", 8)
    found = replay(wanted, [request(range(20), output=10**6)])
    assert found.total.requests == 1
    assert found.counters["peak_kv_frames"] == 4


def test_the_oldest_ends_when_as_many_run_as_may() -> None:
    engine = engine_of(scenario("mamba", running=2))
    for first in range(0, 500, 100):
        engine.admit(request(range(first, first + 20)))
    assert [int.from_bytes(life.key.tokens[:8], "little") for life in engine.running] == [300, 400]
    assert engine.cache.counters.admissions_refused == 0


def test_the_oldest_ends_when_memory_lacks() -> None:
    engine = engine_of(scenario("mamba", 11, running=9))
    for first in range(0, 500, 100):
        engine.admit(request(range(first, first + 20), output=20))
        engine.cache.check(2)
    assert 1 <= len(engine.running) < 3
    assert engine.cache.counters.admissions_refused >= 3


def test_answers_of_requests_that_run_together_grow_in_turns() -> None:
    engine = engine_of(scenario("attention", running=4))
    for first in (0, 100, 200, 300):
        engine.admit(request(range(first, first + 8), output=81))
    assert [life.length - life.prompt for life in engine.running] == [80, 60, 40, 20]
    pages = [sorted(engine.cache.refs.pages(life.row, 0, 99)) for life in engine.running]
    assert sum(map(len, pages)) == (200 + 4 * 8) // 4
    engine.play([])
    assert engine.cache.frames.kv_pages == 4 * 2


def test_its_own_prefix_in_the_way_is_dropped() -> None:
    """112 tokens and 3 states fill the arena; the state of a prefix is one frame too many."""
    wanted = scenario("mamba", 9, check_level=2)
    found = replay(wanted, [request(range(69)), request(range(112))])
    assert found.counters["prefixes_dropped"] == 1
    assert found.total.hit == 0
    assert found.windows[1].missed == {"prefix dropped to make room": 112}


def test_published_answers_take_room_after_the_end() -> None:
    prompts = [request(range(n, n + 20), output=600) for n in range(0, 3000, 1000)]
    held = replay(scenario("mamba"), prompts)
    kept = replay(scenario("mamba", answers="publish"), prompts)
    assert held.counters["pages_in_use"] == 3 * 16 // 4
    # Snapshots of a decode lie 16 tokens apart: 20 + 599 reaches 608.
    assert kept.counters["pages_in_use"] == 3 * 608 // 4
    assert kept.counters["frames_state"] == held.counters["frames_state"] + 3


def test_a_snapshot_without_room_is_skipped() -> None:
    """Three states of its own and its pages are all that the arena has."""
    wanted = scenario("mamba", 6, check_level=2)
    found = replay(wanted, [request(range(36)), request(range(36))])
    assert found.total.requests == 2
    assert found.counters["checkpoints_skipped"] > 0
    assert found.total.hit == 0


def test_more_compressed_states_are_kept_in_the_same_frames() -> None:
    """40 prompts of a state and two pages each, in 43 frames of two compressed states."""
    prompts = [request(range(100 * i, 100 * i + 9)) for i in range(40)]
    found = {}
    for dtype in ("auto", "int8"):
        wanted = scenario("mamba", 44, checkpoint_dtype=dtype, check_level=2)
        found[dtype] = replay(wanted, [*prompts, *prompts])
    assert scenario("mamba", checkpoint_dtype="int8").geometry.checkpoints_per_frame == 2
    assert found["auto"].total.hit == 0
    assert found["int8"].total.hit == 40 * 8
    assert found["int8"].total.evicted_states == 0


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"chunk": 66}, "--chunk 66"),
        ({"chunk": 4}, "--chunk 4"),
        ({"grid": 10}, "--grid 10"),
        ({"policy": "oracle"}, "oracle"),
        ({"checkpoint_dtype": "int8", "host": 1 << 20}, "--checkpoint-dtype int8 beside --host-gb"),
        ({"budget": 1000}, "--device-gb"),
    ],
)
def test_options_that_do_not_fit(more: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        replay(replace(scenario("mamba"), **more), [])


def test_the_least_memory_that_is_advised_is_enough() -> None:
    small = replace(scenario("mamba"), budget=1)
    with pytest.raises(InputError) as caught:
        small.check()
    advised = float(str(caught.value).rsplit("at least", 1)[1])
    replace(small, budget=int(advised * (1 << 30))).check()
