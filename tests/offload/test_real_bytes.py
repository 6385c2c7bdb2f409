"""Decisions and copies together: real bytes go to the host and come back, on threads."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from real import RealRig

from cachepawl.offload.load_backs import Load

STEMS = ["a" * 20, "a" * 8 + "b" * 12, "c" * 20]
WRITING = ["write_through", "write_through_selective", "write_back"]


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[RealRig]:
    made = RealRig(**getattr(request, "param", {}))
    yield made
    made.close()


def test_there_and_back(rig: RealRig) -> None:
    rig.run("abcdefghijkl")
    rig.settle_all()
    rig.evict_device()
    assert rig.on_device("abcdefghijkl") == 0
    assert rig.load("x", "abcdefghijklm") is Load.STARTED
    rig.copies.begin_loads()
    rig.settle_all()
    assert rig.on_device("abcdefghijkl") == 12
    rig.tier.settle("x")


@pytest.mark.parametrize("rig", [{"states": False}], indirect=True)
def test_there_and_back_without_states(rig: RealRig) -> None:
    rig.run("abcdefghijkl")
    rig.settle_all()
    rig.evict_device()
    rig.load("x", "abcdefghijklm")
    rig.settle_all()
    assert rig.on_device("abcdefghijkl") == 12
    rig.tier.settle("x")


@pytest.mark.parametrize("fault", ["fail", "spoil", "refuse", "memory", "no-start"])
def test_a_load_that_fails_is_never_a_hit(fault: str) -> None:
    rig = RealRig(faults=f"load:0:{fault}")
    rig.run("abcdefghijkl")
    rig.settle_all()
    rig.evict_device()
    rig.load("x", "abcdefghijklm")
    rig.settle_all()
    assert rig.on_device("abcdefghijkl") == 0
    assert not rig.tier.waits("x")
    assert len(rig.failures) == 1
    assert "injected" in rig.failures[0]
    rig.run("abcdefghijkl")
    rig.close()


@pytest.mark.parametrize("kind", ["pages", "states"])
def test_a_corrupted_load_is_seen(kind: str) -> None:
    rig = RealRig(corrupt=kind)
    rig.run("abcdefghijkl")
    rig.settle_all()
    rig.evict_device()
    rig.load("x", "abcdefghijklm")
    with pytest.raises(AssertionError):
        rig.settle_all()
    rig.copies.close()


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize("seed", range(3))
def test_any_order(writing: str, seed: int) -> None:
    """After every step all bytes of both trees are what they stand for."""
    chance = random.Random(f"{writing} {seed}")
    rig = RealRig(
        frames=24,
        free_frames=20 if writing == "write_back" else 1,
        writing=writing,
        faults="load:*:late:2,write:*:late:1",
    )
    waiting: list[str] = []
    for step in range(100):
        text = chance.choice(STEMS)[: 4 * chance.randint(1, 5)]
        verb = chance.choice(["run", "run", "load", "load", "poll", "poll", "evict", "settle"])
        if verb == "run":
            rig.run(text, state=chance.random() < 0.8)
        elif verb == "load" and len(waiting) < 3:
            name = f"r{step}"
            if rig.load(name, text + "z") in (Load.STARTED, Load.JOINED):
                waiting.append(name)
            rig.copies.begin_loads()
        elif verb == "poll":
            rig.tier.poll()
        elif verb == "evict":
            rig.cache.evict_tokens(chance.randint(1, 120))
        elif verb == "settle" and waiting:
            rig.tier.settle(waiting.pop())
        rig.check()
    for name in waiting:
        rig.tier.settle(name)
    all_that_is_there_comes_back(rig)
    rig.close()
    assert rig.failures == []


def all_that_is_there_comes_back(rig: RealRig) -> None:
    for _ in range(3):
        for stem in STEMS:
            rig.run(stem)
        rig.settle_all()
    rig.evict_device()
    there = {stem: rig.on_host(stem) for stem in STEMS}
    assert any(there.values())
    for stem, tokens in there.items():
        rig.load(stem, stem + "z")
        rig.settle_all()
        assert rig.on_device(stem) >= tokens
        rig.tier.settle(stem)
