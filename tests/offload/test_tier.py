"""What the tier decides: order of acknowledgements, quotas, policies, failures, ranks."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import PAGE, Rig, geometry, key_of

from cachepawl.errors import ArgumentError, ConfigError, LockError
from cachepawl.offload.load_backs import Load
from cachepawl.offload.options import TierOptions
from cachepawl.offload.tickets import Ready
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.tree import Reason

A, B, C = "aaaabbbb", "aaaabbbbcccc", "aaaabbbbccccdddd"
OTHERS = ["eeee", "ffff", "gggg", "hhhh"]


def stored(*texts: str, **options: Any) -> Rig:
    """A tier with these on the host, and nothing on the device."""
    rig = Rig(**options)
    for text in texts:
        rig.run(text)
    rig.settle_writes()
    rig.evict_device()
    return rig


@pytest.mark.parametrize(
    ("writing", "uses"), [("write_through", 1), ("write_through_selective", 2)]
)
def test_written_from_the_nth_use_on(writing: str, uses: int) -> None:
    rig = Rig(writing=writing)
    for use in range(1, 4):
        rig.run(A + OTHERS[use] if use > 1 else A)
        rig.settle_writes()
        assert (rig.on_host(A) == len(A)) == (use >= uses)


def test_write_back_writes_what_would_go_next_and_then_it_goes() -> None:
    rig = Rig(writing="write_back", frames=9, free_frames=3)
    for text in OTHERS[:3]:
        rig.run(text)
        rig.tier.poll()
    assert not rig.moving.under_way  # enough is free
    rig.run(OTHERS[3])
    rig.tier.poll()
    (order,) = rig.moving.under_way
    assert rig.here.states[order.copy.states_from[0]] == OTHERS[0]
    assert rig.on_device(OTHERS[0]) == PAGE
    rig.settle_writes()
    assert [rig.on_device(text) for text in OTHERS] == [0, PAGE, PAGE, PAGE]
    assert rig.on_host(OTHERS[0]) == PAGE
    assert rig.tier.counters.evicted_ahead == 1


def test_write_back_keeps_what_was_used_meanwhile() -> None:
    rig = Rig(writing="write_back", frames=7, free_frames=3)
    for text in OTHERS[:3]:
        rig.run(text)
    rig.tier.poll()
    written = [order.copy.states_from[0] for order in rig.moving.under_way]
    victims = [rig.here.states[slot] for slot in written]
    rig.match(victims[0] + "x")
    rig.settle_writes()
    assert rig.on_device(victims[0]) == PAGE


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_no_byte_is_written_twice(writing: str) -> None:
    """States on one path, all wanted in the same step: each waits for the one before it."""
    rig = Rig(writing=writing, frames=10, host_frames=40, free_frames=9)
    for text in (A, B, C, *OTHERS[:1]):
        rig.run(text)
        rig.run(text)  # the second use, for who waits for it
    rig.tier.poll()
    rig.check()
    assert len(rig.moving.under_way) == 2  # one of the path, and the other prompt
    rig.settle_writes()
    assert [rig.on_host(text) for text in (A, B, C, OTHERS[0])] == [8, 12, 16, 4]
    assert rig.host.counters.duplicate_pages == 0
    pages, states = (len(C) + PAGE) // PAGE, 4
    shape = rig.cache.geometry
    assert rig.tier.counters.write_bytes == pages * shape.page_bytes + states * shape.state_bytes


def test_kv_of_either_tier_is_known() -> None:
    rig = stored(C)
    found = rig.match(B + "zzzz")
    assert (found.host_node, found.usable_len, found.kv_len) == (None, 0, len(B))
    rig.run(A)
    found = rig.match(B + "zzzz")
    assert (found.device.kv_len, found.usable_len, found.kv_len) == (len(A), len(A), len(B))
    assert rig.match(C + "x").kv_len == len(C)


def test_what_has_to_wait_holds_up_nobody_and_stays_evictable() -> None:
    rig = Rig(writing="write_back", frames=10, free_frames=9)
    for text in (A, B):
        rig.run(text)
    rig.tier.poll()
    (order,) = rig.moving.under_way
    assert rig.here.states[order.copy.states_from[0]] == B
    assert len(rig.cache.tree.open_locks) == 1  # of the ticket
    rig.cache.evict_states(1)
    assert rig.on_device(A) == 0, "the other one may go without a copy"
    rig.settle_writes()
    assert (rig.on_host(A), rig.on_host(B)) == (0, len(B))


def test_quota_of_bytes_and_loads_first() -> None:
    frame = geometry(2).frame_bytes
    rig = stored(C, writing="write_through", write_bytes=frame, write_bytes_beside_loads=0)
    for text in OTHERS:
        rig.run(text)
    rig.tier.poll()
    assert len(rig.moving.under_way) == 1  # one is more than the quota, and goes alone
    assert rig.load("r", C + "x") is Load.STARTED
    rig.moving.end(0)
    rig.tier.poll()
    assert [order.direction.name for order in rig.moving.under_way] == ["LOAD_BACK"]
    rig.moving.end(0)
    rig.tier.poll()
    assert [order.direction.name for order in rig.moving.under_way] == ["WRITE_BACK"]
    rig.settle_writes()
    assert all(rig.on_host(text) == PAGE for text in OTHERS)


def test_acknowledged_in_the_order_of_their_start() -> None:
    rig = Rig()
    for text in OTHERS:
        rig.run(text)
    rig.tier.poll()
    rig.moving.end(2)
    assert rig.tier.ready() == Ready()
    rig.moving.end(0)
    assert rig.tier.ready() == Ready.sound(1)
    rig.moving.end(0)
    assert rig.tier.ready() == Ready.sound(3)
    with pytest.raises(ArgumentError, match="4 WRITE_BACK tickets agreed upon, 3 have ended"):
        rig.tier.poll(Ready.sound(4))
    rig.tier.poll(Ready.sound(2))
    assert [rig.on_host(text) for text in OTHERS] == [PAGE, PAGE, 0, 0]
    rig.check()


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(list(WRITE_POLICIES)), st.sampled_from([0, 0.05]))
def test_ranks_decide_alike(seed: int, writing: str, breaks: float) -> None:
    """Transfers end when they please, and fail on one rank alone; what is decided follows from
    what was agreed upon."""
    sizes = {"frames": 12, "host_frames": 8, "free_frames": 6, "headroom_frames": 4}
    ranks = [Rig(writing=writing, **sizes) for _ in range(2)]
    dice = Random(seed)
    for step in range(30):
        text = "".join(dice.choice("ab") * PAGE for _ in range(dice.randint(1, 4)))
        verb = dice.randrange(4)
        for number, rig in enumerate(ranks):
            own = Random(f"{seed} {step} {number}")
            while rig.moving.under_way and own.random() < 0.6:
                error = "broken" if own.random() < breaks else None
                rig.moving.end(own.randrange(len(rig.moving.under_way)), error)
        said = [rig.tier.ready() for rig in ranks]
        agreed = Ready(*(min(column) for column in zip(*said, strict=True)))
        for rig in ranks:
            rig.tier.poll(agreed)
            if verb == 0:
                rig.load(f"r{step}", text + "x")
            elif verb == 1:
                rig.tier.settle(f"r{step - 3}")
                rig.cache.evict_tokens(5)
            elif rig.cache.fits(len(text), 1):
                rig.run(text)
        one, other = ranks
        assert one.tier.stats() == other.tier.stats()
        assert one.cache.tree.render() == other.cache.tree.render()
        assert one.host.tree.render() == other.host.tree.render()


def test_failure_leaves_the_device() -> None:
    """Said once; both ends are free when the transfers under way have ended, not before."""
    rig = stored(C)
    rig.run(OTHERS[0])
    rig.run(OTHERS[1])
    rig.tier.poll()
    rig.load("r", C + "x")
    rig.moving.end(0, "cudaErrorIllegalAddress")
    assert rig.tier.ready() == Ready(writes=1, sound_writes=0)
    assert not rig.tier.ready().healthy
    rig.tier.poll()
    assert rig.failures == ["cudaErrorIllegalAddress"]
    assert rig.match(C + "x").usable_len == 0
    assert rig.load("s", C + "x") is Load.NOTHING
    assert not rig.tier.has_copy(rig.node(OTHERS[0]))
    assert len(rig.tier.tickets) == 2
    rig.run(OTHERS[2])
    for _ in range(2):
        rig.moving.end(0)
        rig.tier.poll()
    rig.check()
    assert rig.failures == ["cudaErrorIllegalAddress"]
    assert not rig.moving.under_way
    assert rig.tier.stats()["host_out_of_use"] == 1
    rig.evict_device()
    assert rig.on_device(C) == len(C)  # its load was well, and is held for who waited
    rig.tier.settle("r")
    rig.evict_device()
    assert rig.cache.frames.free_frames == rig.cache.geometry.usable_frames
    assert rig.cache.frames.held_still() == {}
    assert len(rig.host.refs.rows) == rig.host.row_states == 0


def test_what_cannot_be_submitted_is_a_failure_in_its_turn() -> None:
    rig = Rig()
    rig.run(OTHERS[0])
    rig.run(OTHERS[1])
    rig.moving.refuses = 1
    rig.tier.poll()
    assert rig.failures == []
    assert len(rig.moving.under_way) == 1
    rig.tier.poll()
    assert rig.failures == ["ticket 1 refused"]


@pytest.mark.parametrize("raised", [torch.OutOfMemoryError, MemoryError, OSError, RuntimeError])
def test_what_a_device_raises_at_a_start_costs_the_host_alone(raised: type[Exception]) -> None:
    """Of a write-back, and of a load: told once, counted, and both tiers are whole."""
    rig = stored(C)
    rig.run(OTHERS[0])
    rig.moving.refuses, rig.moving.refusal = 2, raised
    assert rig.load("r", C + "x") is Load.STARTED
    rig.tier.poll()
    rig.check()
    assert rig.failures == [f"{raised.__name__}: ticket 2 refused"]
    assert rig.tier.counters.loads_failed == 1
    assert not rig.tier.waits("r")
    rig.tier.poll()
    assert len(rig.failures) == 1
    assert rig.load("r", C + "x") is Load.NOTHING
    rig.run(C)

    other = Rig()
    other.run(A)
    other.moving.refuses, other.moving.refusal = 1, raised
    for _ in range(2):
        other.tier.poll()
        other.check()
    assert other.failures == [f"{raised.__name__}: ticket 1 refused"]
    assert other.tier.counters.writes_failed == 1
    assert other.on_device(A) == len(A)


@pytest.mark.parametrize("mistake", [AssertionError, TypeError, KeyError])
def test_a_mistake_is_not_taken_for_a_failure(mistake: type[Exception]) -> None:
    rig = Rig()
    rig.run(A)
    rig.moving.refuses, rig.moving.refusal = 1, mistake
    with pytest.raises(mistake):
        rig.tier.poll()


def test_another_ranks_failure() -> None:
    """The same transfer counts as failed here, and those before it do not."""
    rig = Rig()
    rig.run(OTHERS[0])
    rig.run(OTHERS[1])
    rig.tier.poll()
    rig.moving.wait()
    assert rig.tier.ready() == Ready.sound(2)
    rig.tier.poll(Ready(writes=2, sound_writes=1))
    assert rig.failures == ["a transfer of another rank failed"]
    assert rig.tier.counters.writes == rig.tier.counters.writes_failed == 1
    rig.check()


def test_host_full_of_what_is_kept_is_skipped_and_counted() -> None:
    rig = Rig(host_frames=4)
    rig.tier.retract("r", rig.run(A).node)
    rig.settle_writes()
    for text in OTHERS:
        rig.run(text)
    rig.settle_writes()
    assert rig.on_host(A) == len(A)
    assert rig.tier.counters.writes_skipped > 0
    rig.tier.settle("r")
    rig.run(C)
    rig.settle_writes()
    assert rig.on_host(C) == len(C)


def test_host_evicts_by_last_use_and_a_hit_on_the_device_is_one() -> None:
    rig = Rig(host_frames=6, frames=20)
    for text in OTHERS[:3]:
        rig.run(text)
        rig.settle_writes()
    rig.match(OTHERS[0] + "x")
    rig.run(OTHERS[3])
    rig.settle_writes()
    assert [rig.on_host(text) for text in OTHERS] == [PAGE, 0, PAGE, PAGE]


def test_load_refused_without_room_on_the_device() -> None:
    rig = stored(C, frames=5)
    rig.cache.refs.open(1, rig.cache.tree.path_pages(rig.cache.tree.root))
    rig.cache.allocate(1, 9 * PAGE)
    before = rig.cache.stats()
    assert rig.load("r", C + "x") is Load.REFUSED
    refused = rig.cache.stats()
    assert {k: v for k, v in refused.items() if v != before[k]} == {}
    assert rig.tier.counters.loads_refused == 1


def test_headroom_for_running_requests() -> None:
    """A write-back waits rather than pin what the running may need next."""
    rig = Rig(frames=5)
    rig.tier.writes.headroom = 3 * rig.cache.frames.pages_per_frame
    rig.run(A)
    rig.run("eeee")
    rig.tier.poll()
    assert not rig.moving.under_way
    assert rig.tier.stats()["host_writes_wanted"] == 2
    assert rig.cache.tree.full_protected == 0


def test_headroom_of_a_small_device() -> None:
    """Half of it at most: else nothing could ever be written."""
    rig = Rig(frames=5, headroom_frames=3)
    rig.run(A)
    rig.tier.poll()
    assert len(rig.moving.under_way) == 1


def test_retracted_safe_at_once_where_a_copy_is() -> None:
    rig = Rig()
    done = rig.run(C)
    rig.settle_writes()
    rig.tier.retract("r", done.node)
    assert rig.tier.retracted.is_safe("r")
    rig.tier.retract("r", done.node)
    rig.host.evict_states(9)
    assert rig.on_host(C) == len(C)
    rig.tier.settle("r")
    rig.tier.settle("r")
    rig.host.evict_states(9)
    assert rig.on_host(C) == 0


def test_backed_up_at_once_whatever_the_quota() -> None:
    rig = Rig(frames=5, write_bytes=1)
    rig.tier.writes.headroom = 3 * rig.cache.frames.pages_per_frame
    node = rig.run(A).node
    rig.tier.poll()
    assert not rig.moving.under_way
    assert rig.tier.back_up("r", node)
    rig.check()
    rig.evict_device()
    assert rig.on_device(A) == len(A)
    rig.moving.end(0)
    rig.tier.end_writes(rig.tier.ready())
    rig.check()
    assert rig.tier.retracted.is_safe("r")
    rig.evict_device()
    assert (rig.on_device(A), rig.on_host(A)) == (0, len(A))
    assert not rig.tier.back_up("r", node)
    rig.tier.goes_on("r", len(A))
    assert rig.tier.counters.retractions_resumed_tokens == len(A)


def test_a_failed_back_up_keeps_nothing() -> None:
    rig = Rig()
    assert rig.tier.back_up("r", rig.run(A).node)
    rig.moving.end(0, "broken")
    rig.tier.end_writes(rig.tier.ready())
    rig.check()
    assert rig.failures == ["broken"]
    assert not rig.tier.retracted.is_safe("r")
    assert rig.cache.tree.full_protected == 0


def test_retracted_and_evicted_before_its_copy_began() -> None:
    rig = Rig()
    rig.tier.retract("r", rig.run(C).node)
    rig.evict_device()
    rig.settle_writes()
    assert not rig.tier.retracted.is_safe("r")
    rig.tier.settle("r")
    assert rig.tier.counters.retractions_lost == 1


def test_holds_can_be_given_up() -> None:
    rig = stored(C)
    rig.load("r", C + "x")
    rig.moving.end(0)
    rig.tier.poll()
    rig.evict_device()
    assert rig.on_device(C) == len(C)
    rig.tier.yield_holds()
    rig.evict_device()
    assert rig.on_device(C) == 0


def test_without_states_a_hit_ends_inside_an_edge() -> None:
    rig = stored(C, states=False)
    found = rig.match(B + "xxxx")
    assert (found.usable_len, found.load_tokens) == (len(B), len(B))
    assert found.load_bytes == len(B) * 32
    rig.load("r", B + "xxxx")
    rig.load("s", A + "xxxx")
    assert len(rig.moving.under_way) == 2
    rig.moving.wait()
    rig.tier.poll()
    rig.check()
    assert rig.on_device(C) == len(B)


def test_reasons_say_where_it_is() -> None:
    rig = stored(C)
    key = key_of(C + "xxxx")
    missed = rig.tier.explain(key, rig.tier.match(key, 19), 19)
    assert [(miss.reason, miss.tokens) for miss in missed] == [
        (Reason.OTHER_TIER, 16),
        (Reason.NOTHING_CACHED, 4),
    ]


def test_least_gain() -> None:
    rig = stored(A, C, least_gain=9)
    rig.run(A)
    assert rig.match(C + "x").host_node is None
    rig.evict_device()
    assert rig.match(C + "x").usable_len == len(C)


def test_other_shapes_are_refused() -> None:
    rig = Rig()
    with pytest.raises(ConfigError, match="a host arena of 384 bytes a frame"):
        HostTier(rig.cache, geometry(9, states=False), rig.moving, WRITE_POLICIES["write_back"]())


def test_reset_while_running_is_refused() -> None:
    rig = Rig()
    rig.run(A)
    rig.cache.refs.open(1, rig.cache.tree.path_pages(rig.cache.tree.root))
    with pytest.raises(LockError):
        rig.tier.reset()
    rig.check()


def test_has_copy() -> None:
    rig = Rig()
    node = rig.run(C).node
    assert not rig.tier.has_copy(node)
    rig.settle_writes()
    assert rig.tier.has_copy(node)
    rig.host.evict_states(1)
    assert not rig.tier.has_copy(node)


def test_defaults_are_sane() -> None:
    options = TierOptions()
    assert options.write_bytes_beside_loads <= options.write_bytes


def riding() -> Rig:
    """Request r runs as row 77 on what is being loaded for it."""
    rig = stored(C)
    rig.load("r", C + "x")
    slot = rig.tier.ride("r", 77)
    assert slot == rig.moving.under_way[0].copy.states_to[0]
    rig.cache.allocate(77, len(C) + 2 * PAGE)
    rig.check()
    return rig


def test_a_ride_is_published_when_its_load_is_acknowledged() -> None:
    rig = riding()
    rig.load("s", C + "y")
    assert len(rig.moving.under_way) == 1
    with pytest.raises(ArgumentError, match="'s' cannot: r does"):
        rig.tier.ride("s", 78)
    assert rig.on_device(C) == 0
    rig.moving.end(0)
    rig.tier.poll()
    rig.check()
    assert rig.tier.rides_ended() == [("r", 77, None, False)]
    assert rig.tier.rides_ended() == []
    rig.evict_device()
    assert rig.on_device(C) == len(C)
    assert rig.cache.refs.rows[77].shared == len(C) // PAGE
    rig.cache.release(77, len(C), len(C) + 2 * PAGE)
    rig.cache.close_row(77)
    for request in "rs":
        rig.tier.settle(request)
    rig.evict_device()
    rig.check()
    assert rig.cache.frames.free_frames == rig.cache.geometry.usable_frames


def test_a_ride_whose_load_fails_ends() -> None:
    rig = riding()
    rig.moving.end(0, "broken")
    rig.tier.poll()
    rig.check()
    assert rig.tier.rides_ended() == [("r", 77, "broken", False)]
    assert rig.on_device(C) == 0
    rig.cache.release(77, 0, len(C) + 2 * PAGE)
    rig.cache.close_row(77)
    rig.tier.settle("r")
    rig.check()
    assert rig.cache.frames.free_frames == rig.cache.geometry.usable_frames


def test_a_failed_write_back_ends_no_ride() -> None:
    """A failed transfer ends only what depended on it, in the same poll or in another."""
    for both_at_once in (True, False):
        rig = riding()
        rig.run(OTHERS[0])
        rig.tier.poll()
        rig.moving.end(1, "broken")
        if not both_at_once:
            rig.tier.poll()
            assert rig.failures == ["broken"]
        rig.moving.end(0)
        rig.tier.poll()
        rig.check()
        assert rig.failures == ["broken"]
        assert rig.tier.rides_ended() == [("r", 77, None, False)]
        assert rig.on_device(C) == len(C)
        assert rig.tier.counters.loads_failed == 0


def test_a_failed_load_ends_no_other() -> None:
    """Those before it and those behind it end as they end; one that fails, in its turn."""
    rig = stored(A, *OTHERS)
    for name, text in zip("rstu", [A, *OTHERS], strict=False):
        rig.load(name, text + "x")
        rig.tier.ride(name, 70 + ord(name))
    for error in (None, "first", None, "second"):
        rig.moving.end(0, error)
    for _ in range(2):
        rig.tier.poll()
        rig.check()
    rides = [(request, error) for request, _, error, _ in rig.tier.rides_ended()]
    assert rides == [("r", None), ("s", "first"), ("t", None), ("u", "second")]
    assert rig.failures == ["first"]
    found = [rig.on_device(text) > 0 for text in (A, *OTHERS[:3])]
    assert found == [True, False, True, False]


def test_who_gets_off_leaves_the_load_going_on() -> None:
    rig = riding()
    used = rig.cache.frames.kv_pages
    rig.tier.get_off("r")
    rig.check()
    assert rig.cache.frames.kv_pages == used - 2
    rig.moving.end(0)
    rig.tier.poll()
    rig.check()
    assert rig.tier.rides_ended() == []
    assert rig.on_device(C) == len(C)
    rig.evict_device()
    assert rig.cache.frames.free_frames == rig.cache.geometry.usable_frames


def test_a_ride_meets_what_was_computed_meanwhile() -> None:
    rig = riding()
    rig.run(C)
    rig.moving.end(0)
    rig.tier.poll()
    rig.check()
    assert rig.tier.rides_ended() == [("r", 77, None, True)]
    first = rig.cache.refs.pages(77, 0, len(C) // PAGE)
    assert first == rig.cache.tree.path_pages(rig.node(C))


def test_no_reset_under_a_ride() -> None:
    rig = riding()
    with pytest.raises(LockError):
        rig.tier.reset()
    assert len(rig.tier.tickets) == 1
    rig.check()
