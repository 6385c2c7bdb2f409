"""Replays with a host tier: checked after every request, and worth what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import PAGES, REQUESTS, request, scenario

from cachepawl.errors import InputError, OutOfPages
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.tiers import Link, WithHost
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.offload.transfers import Copy, Direction, Order
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import POLICIES
from cachepawl.types import Runs

SMALLEST = {"mamba": 5, "conv": 3, "attention": 2}


def with_host(wanted: Scenario, frames: int, **more: object) -> Scenario:
    return replace(wanted, host=frames * wanted.geometry.frame_bytes, **more)  # type: ignore[arg-type]


@given(
    requests=REQUESTS,
    kind=st.sampled_from(list(PAGES)),
    sizes=st.tuples(st.integers(0, 8), st.integers(2, 30)),
    running=st.integers(1, 3),
    writing=st.sampled_from(list(WRITE_POLICIES)),
    speed=st.sampled_from([1e2, 1e4, 1e9]),
    policy=st.sampled_from(list(POLICIES)),
)
@settings(max_examples=60)
def test_small_arenas(
    requests: list[TraceRequest],
    kind: str,
    sizes: tuple[int, int],
    running: int,
    writing: str,
    speed: float,
    policy: str,
) -> None:
    wanted = scenario(kind, SMALLEST[kind] + sizes[0], running=running, remembered=200)
    wanted = with_host(wanted, sizes[1], link=speed, writing=writing, policy=policy)
    engine = Engine(wanted, Measures(wanted.spec, wanted.budget))
    assert isinstance(engine.tiers, WithHost)
    for at, one in enumerate(requests):
        engine.admit(one._replace(at=float(at)))
        engine.tiers.tier.check(2)
    engine.play([])
    total = engine.measures.total()
    assert total.hit + sum(total.missed.values()) == total.prompt
    engine.tiers.tier.drain()
    engine.tiers.tier.check(2)
    assert not engine.cache.refs.rows
    assert not engine.cache.tree.open_locks
    assert not engine.tiers.tier.host.tree.open_locks


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("writing", ["write_through", "write_back"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_host_holds_is_hit(kind: str, writing: str, policy: str) -> None:
    """A device too small, a host that holds everything: as good as a device that does."""
    prompts = [[100 + i, *range(90)] for i in range(24)] * 2
    requests = [request(prompt, at=float(at)) for at, prompt in enumerate(prompts)]
    # The device holds a few of the prompts, and what is to be evicted next besides.
    small = scenario(kind, {"mamba": 22, "conv": 60, "attention": 6}[kind])
    ample = replay(scenario(kind), requests).total
    alone = replay(small, requests).total
    both = replay(with_host(small, 2000, writing=writing, policy=policy), requests)
    assert ample.hit > 24 * 60
    assert alone.hit < 0.1 * ample.hit
    # What writes before eviction learns by the first evictions how far ahead it must be.
    share = 0.95 if writing == "write_through" else 0.9
    assert both.total.hit >= share * ample.hit
    assert both.host["loaded_prompt_tokens"] >= share * (ample.hit - alone.hit)


@pytest.mark.parametrize("policy", POLICIES)
def test_prompts_that_part_on_the_host_get_their_state(policy: str) -> None:
    """KV without a state is a branch point wherever it is: the third on a stem hits."""
    prompts = [[100 + i, *range(60), 1000 + turn, *range(40)]
               for turn in range(3) for i in range(24)]  # fmt: skip
    requests = [request(prompt, at=float(at)) for at, prompt in enumerate(prompts)]
    ample = replay(scenario("mamba"), requests).total
    both = replay(with_host(scenario("mamba", 22), 2000, policy=policy), requests).total
    assert ample.hit > 20 * 48
    assert both.hit >= 0.95 * ample.hit


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("writing", ["write_through", "write_through_selective"])
@pytest.mark.parametrize("speed", [1e4, 1e9])
def test_chunks_of_a_prompt_are_written_once(kind: str, writing: str, speed: float) -> None:
    """A server has acknowledged the copy of one chunk when the next is published."""
    prompts = [[100 + i // 2, *range(90)] for i in range(12)]
    wanted = with_host(scenario(kind, chunk=16), 4000, writing=writing, link=speed)
    engine = Engine(wanted, Measures(wanted.spec, wanted.budget))
    assert isinstance(engine.tiers, WithHost)
    engine.play(request(prompt, at=float(at)) for at, prompt in enumerate(prompts))
    engine.tiers.step(10**6, 0)
    tier, shapes = engine.tiers.tier, wanted.geometry
    assert tier.host.counters.duplicate_pages == 0
    states = sum(node.state is not None for node in tier.host.tree.walk())
    pages = sum(node.pages.count for node in tier.host.tree.walk())
    assert tier.counters.writes >= 6
    there = pages * shapes.page_bytes + states * shapes.state_bytes
    assert tier.counters.write_bytes == there


def test_a_link_takes_its_time_each_way() -> None:
    geometry = scenario().geometry
    link = Link(geometry, 2.0 * geometry.page_bytes)
    pages = Runs([(8, 6)])
    for number, way in enumerate([Direction.LOAD_BACK, Direction.LOAD_BACK, Direction.WRITE_BACK]):
        link.start(Order(number, way, Copy(pages, pages, (), ())))
    assert link.next_end() == 3.0
    assert link.finished() == []
    link.now = 3.0
    assert sorted(outcome.ticket for outcome in link.finished()) == [0, 2]
    link.wait()
    assert link.now == 6.0
    assert [outcome.ticket for outcome in link.finished()] == [1]
    assert link.next_end() is None
    assert link.busy == {Direction.LOAD_BACK: 6.0, Direction.WRITE_BACK: 3.0}


def test_a_host_too_small_is_refused() -> None:
    with pytest.raises(InputError, match=r"--host-gb .* give at least"):
        with_host(scenario(), 1).check()


def full_prompts() -> tuple[Scenario, list[TraceRequest]]:
    """Each prompt takes the whole device, and a write-back takes longer than until the next."""
    wanted = with_host(scenario("mamba", 12), 50, link=1.0)
    return wanted, [request([100 + i, *range(150)], at=float(i)) for i in range(4)]


def test_a_prompt_that_needs_what_is_being_written_waits() -> None:
    wanted, requests = full_prompts()
    outcome = replay(wanted, requests)
    assert outcome.total.requests == 4
    assert outcome.host["writes"] >= 3


def test_without_waiting_it_would_find_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, requests = full_prompts()
    monkeypatch.setattr(WithHost, "yield_room", lambda self: False)
    with pytest.raises(OutOfPages):
        replay(wanted, requests)
