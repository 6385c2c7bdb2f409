"""What host tiers have got wrong in the wild, one story each.

Stories end with `Rig.check`: invariants of both tiers and of all tickets, and all contents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from broken_tiers import (
    AbortFreesAtOnce,
    AcksEarly,
    BacksUpTwice,
    DropsRetracted,
    FlushesAtOnce,
    FlushesTheDeviceAlone,
    ForgetsTheLimit,
    ForgetsWhatIsUnderWay,
    KeepsBothStates,
    KvIsEnough,
    LoadsTwice,
    LoadsWhatIsThere,
    NotHeldStill,
    PublishesFailures,
    RetractsTheParent,
    SourceNotKept,
    StatesComeOnce,
    TakesTheHostForTheDevice,
    WritesTheEdgeAlone,
)
from rig import PAGE, Rig, key_of

from cachepawl.errors import LockError
from cachepawl.offload.load_backs import Load
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Direction
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy.base import Victim

A, B, C = "aaaabbbb", "aaaabbbbcccc", "aaaabbbbccccdddd"
Story = Callable[[type[HostTier]], None]
STORIES: dict[str, Story] = {}


def story(function: Story) -> Story:
    STORIES[function.__name__] = function
    return function


def rig(tier_type: type[HostTier], **more: Any) -> Rig:
    return Rig(tier_type=tier_type, **more)


@story
def parent_copied_child_not(tier_type: type[HostTier]) -> None:
    """No gap: whatever is written takes along what the host lacks above it."""
    tiers = rig(tier_type, writing="write_back")
    tiers.run(A, state=False)
    tiers.run(C)
    tiers.tier.writes.want(tiers.node(C))
    tiers.settle_writes()
    assert tiers.on_host(C) == len(C)
    assert tiers.tier.counters.write_bytes == 4 * PAGE * 32 + tiers.cache.geometry.state_bytes
    tiers.host.evict_states(1)
    assert tiers.host.tree.peek(key_of(C)).kv_len == len(C)


@story
def cascade_under_a_transfer(tier_type: type[HostTier]) -> None:
    """An eviction on either side stops at what a transfer reads."""
    tiers = rig(tier_type)
    tiers.run(B)
    tiers.tier.poll()
    assert len(tiers.moving.under_way) == 1
    tiers.evict_device()
    assert tiers.on_device(B) == len(B)
    tiers.settle_writes()
    tiers.evict_device()
    assert tiers.on_device(B) == 0
    assert tiers.load("r", B + "x") is Load.STARTED
    tiers.host.evict_tokens(10**6)
    assert tiers.on_host(B) == len(B)
    tiers.moving.end(0)
    tiers.tier.poll()
    tiers.check()
    assert tiers.on_device(B) == len(B)


def state_after_its_kv(writing: str) -> Story:
    def tell(tier_type: type[HostTier]) -> None:
        tiers = rig(tier_type, writing=writing)
        tiers.run(C)
        tiers.tier.writes.want(tiers.node(C))
        tiers.settle_writes()
        assert (tiers.on_host(C), tiers.on_host(A)) == (len(C), 0)
        tiers.run(A)
        tiers.settle_writes()
        assert tiers.on_host(A) == len(A)
        assert tiers.moving.log[-1].copy.pages_from.count == 0
        assert len(tiers.moving.log[-1].copy.states_from) == 1

    return tell


for _name in WRITE_POLICIES:
    STORIES[f"state_after_its_kv_{_name}"] = state_after_its_kv(_name)


@story
def half_loaded_is_not_there(tier_type: type[HostTier]) -> None:
    """Not before the acknowledgement, not after a failure; a loser's load harms nobody."""
    tiers = rig(tier_type)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    assert tiers.load("r", C + "x") is Load.STARTED
    assert tiers.match(C + "x").device.usable_len == 0
    tiers.moving.copy(0)
    assert tiers.match(C + "x").device.usable_len == 0
    tiers.tier.settle("r")  # the request is aborted: its load goes on, and belongs to nobody
    tiers.check()
    tiers.moving.end(0, "broken")
    tiers.tier.poll()
    tiers.check()
    assert tiers.match(C + "x").usable_len == 0
    assert tiers.cache.frames.free_frames == tiers.cache.geometry.usable_frames
    assert tiers.failures == ["broken"]


@story
def aborted_load_ends_before_its_pages_are_free(tier_type: type[HostTier]) -> None:
    tiers = rig(tier_type, frames=6)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    tiers.load("r", C + "x")
    tiers.tier.settle("r")
    used = tiers.cache.frames.kv_pages
    assert used == 4
    tiers.run("zzzzyyyy", state=False)
    tiers.moving.end(0)
    tiers.tier.poll()
    tiers.check()
    tiers.evict_device()
    assert tiers.cache.frames.kv_pages == 0


@story
def device_shorter_than_host(tier_type: type[HostTier]) -> None:
    """What the host has deeper is no hit of the device, and the device keeps what it has."""
    tiers = rig(tier_type)
    tiers.run(A)
    tiers.run(C)
    tiers.settle_writes()
    tiers.cache.evict_victim(Victim(tiers.node(C), "kv"), "test")
    found = tiers.match(C + "x")
    assert (found.device.usable_len, found.usable_len) == (len(A), len(C))
    assert found.load_tokens == len(C) - len(A)
    lock = tiers.cache.lock(found.device.node)
    assert lock.node.end == len(A)
    tiers.cache.unlock(lock)
    tiers.load("r", C + "x")
    (order,) = tiers.moving.under_way
    assert order.direction is Direction.LOAD_BACK
    assert order.copy.pages_from.count == (len(C) - len(A)) // PAGE


@story
def kv_on_the_host_is_no_hit(tier_type: type[HostTier]) -> None:
    tiers = rig(tier_type)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    found = tiers.match(B + "xxxx")
    assert (found.usable_len, found.host_node) == (0, None)
    assert tiers.host.tree.peek(key_of(B)).kv_len == len(B)


@story
def state_of_another_depth(tier_type: type[HostTier]) -> None:
    """The last token is computed, and then the state must be a shallower one, too."""
    tiers = rig(tier_type)
    tiers.run(A)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    found = tiers.match(C)
    assert found.usable_len == len(A)
    tiers.load("r", C)
    tiers.moving.end(0)
    tiers.tier.poll()
    tiers.check()
    assert tiers.match(C).device.usable_len == len(A)


@story
def retracted_with_its_latest_state(tier_type: type[HostTier]) -> None:
    """The live state is published first; then the copy is made of that very depth."""
    tiers = rig(tier_type, writing="write_back")
    tiers.run(A)
    done = tiers.run(C)
    tiers.tier.retract("r", done.node)
    tiers.tier.poll()
    (order,) = tiers.moving.under_way
    assert order.copy.pages_from.count == len(C) // PAGE
    assert tiers.here.states[order.copy.states_from[0]] == C
    tiers.settle_writes()
    assert tiers.tier.retracted.is_safe("r")
    tiers.evict_device()
    tiers.host.evict_tokens(10**6)
    tiers.host.evict_states(10)
    assert tiers.match(C + "x").usable_len == len(C)
    tiers.tier.settle("r")
    tiers.host.evict_tokens(10**6)
    assert tiers.match(C + "x").usable_len == 0


@story
def copy_seen_too_early(tier_type: type[HostTier]) -> None:
    tiers = rig(tier_type)
    tiers.run(B)
    tiers.tier.poll()
    assert tiers.on_host(B) == 0
    tiers.moving.copy(0)
    tiers.tier.poll()
    assert tiers.on_host(B) == 0
    tiers.moving.end(0)
    tiers.tier.poll()
    assert tiers.on_host(B) == len(B)
    tiers.check()


@story
def wanted_twice_at_once(tier_type: type[HostTier]) -> None:
    """Two write-backs share a path that neither finds on the host: it is written once."""
    tiers = rig(tier_type)
    tiers.run(B)
    tiers.run(A + "zzzz")
    tiers.tier.poll()
    assert len(tiers.moving.under_way) == 1
    # Nor is it for who stops to make room: the other's copy is ended first.
    assert not tiers.tier.back_up("r", tiers.node(A + "zzzz"))
    assert len(tiers.moving.under_way) == 1
    tiers.settle_writes()
    assert tiers.host.counters.duplicate_pages == 0
    assert (tiers.on_host(B), tiers.on_host(A + "zzzz")) == (len(B), len(A) + 4)
    assert tiers.host.frames.kv_pages == 4
    tiers.tier.settle("r")


@story
def loaded_for_two(tier_type: type[HostTier]) -> None:
    """The second who wants it waits for the first one's load."""
    tiers = rig(tier_type)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    assert tiers.load("r", C + "x") is Load.STARTED
    assert tiers.load("s", C + "y") is Load.JOINED
    assert len(tiers.moving.under_way) == 1
    tiers.tier.settle("r")
    tiers.moving.end(0)
    tiers.tier.poll()
    tiers.evict_device()
    assert not tiers.tier.waits("s")
    assert tiers.match(C + "y").device.usable_len == len(C)
    tiers.tier.settle("s")
    tiers.evict_device()
    assert tiers.match(C + "y").device.usable_len == 0


@story
def computed_while_it_was_loaded(tier_type: type[HostTier]) -> None:
    """Somebody did not wait: the loaded pages are duplicates, and are freed."""
    tiers = rig(tier_type)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    tiers.load("r", C + "x")
    tiers.run(C)
    tiers.moving.end(0)
    tiers.tier.poll()
    tiers.check()
    assert tiers.cache.frames.kv_pages == 4
    assert tiers.cache.frames.states == 1


@story
def flushed_under_way(tier_type: type[HostTier]) -> None:
    """A flush waits, and what arrives late is not cached."""
    tiers = rig(tier_type)
    tiers.run(C)
    tiers.settle_writes()
    tiers.evict_device()
    tiers.run("zzzz")
    tiers.load("r", C + "x")
    tiers.tier.poll()
    assert len(tiers.moving.under_way) == 2
    with pytest.raises(LockError):
        tiers.cache.reset()
    tiers.tier.reset()
    tiers.check()
    for cache in (tiers.cache, tiers.host):
        assert cache.tree.num_nodes == 0
        assert cache.frames.free_frames == cache.geometry.usable_frames
    tiers.run(C)
    tiers.settle_writes()
    assert tiers.on_host(C) == len(C)


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    STORIES[name](HostTier)


MUTANTS = {
    WritesTheEdgeAlone: "parent_copied_child_not",
    TakesTheHostForTheDevice: "device_shorter_than_host",
    LoadsWhatIsThere: "device_shorter_than_host",
    KvIsEnough: "kv_on_the_host_is_no_hit",
    ForgetsWhatIsUnderWay: "wanted_twice_at_once",
    BacksUpTwice: "wanted_twice_at_once",
    KeepsBothStates: "computed_while_it_was_loaded",
    FlushesAtOnce: "flushed_under_way",
    FlushesTheDeviceAlone: "flushed_under_way",
    AcksEarly: "copy_seen_too_early",
    SourceNotKept: "cascade_under_a_transfer",
    NotHeldStill: "cascade_under_a_transfer",
    PublishesFailures: "half_loaded_is_not_there",
    StatesComeOnce: "state_after_its_kv_write_back",
    ForgetsTheLimit: "state_of_another_depth",
    RetractsTheParent: "retracted_with_its_latest_state",
    DropsRetracted: "retracted_with_its_latest_state",
    AbortFreesAtOnce: "aborted_load_ends_before_its_pages_are_free",
    LoadsTwice: "loaded_for_two",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mutant_is_caught(mutant: type[HostTier]) -> None:
    with pytest.raises((AssertionError, KeyError, ValueError, LockError)):
        STORIES[MUTANTS[mutant]](mutant)


def test_every_story_can_fail() -> None:
    """Of stories told once for each write policy, one is enough."""
    told = {name for name in STORIES if not name.startswith("state_after_its_kv_")}
    assert told <= {*MUTANTS.values()}
