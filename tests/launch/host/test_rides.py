"""Who rides on a load, and what becomes of them: a real tier, with SGLang's side stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from host_rig import LENGTH, PAGE, AtOnce, Ordered, Rig, key_of, request

from cachepawl.offload.tickets import Ready
from cachepawl.offload.transfers import Direction, Outcome
from cachepawl_launch.host.layer_waits import LayerWaits
from cachepawl_launch.host.rides import Rides

PREFIX = (LENGTH - 1) // PAGE * PAGE
"""Of a prompt, less its last token."""


class Broken(AtOnce):
    """Transfers that have failed when somebody asks."""

    def finished(self) -> list[Outcome]:
        return [outcome._replace(error="broken") for outcome in super().finished()]


class Cache:
    """What is told of those who land."""

    def __init__(self) -> None:
        self.landed_at: dict[str, int] = {}
        self.spoilt: list[str] = []

    def landed(self, req: Any, node: Any, length: int, *, replaced: bool) -> None:
        assert node.end >= length
        req.last_node = node
        self.landed_at[req.rid] = length

    def spoil(self, rid: str) -> None:
        self.spoilt.append(rid)


class Riders(Rig):
    """`a` to `d` are on the host; whoever asks rides, if it may."""

    def __init__(self, *, layerwise: bool = True, broken: bool = False) -> None:
        super().__init__(60)
        self.moving = self.tier.tickets.transfers = Broken() if broken else AtOnce()
        self.told = Cache()
        copies: Any = SimpleNamespace(wait_loads=lambda: None, wait_states=lambda: None)
        waits = LayerWaits(copies, {0: 0}, 1, blind=False) if layerwise else None
        self.layers = waits
        told: Any = self.told
        self.rides = Rides(self.tier, copies, told, lambda ready: ready, waits)
        self._row = 10

    def board(self, req: Any) -> bool:
        """As SGLang does: matched, then given a row."""
        place = self.rides.boarding(req.rid)
        if place is None:
            return False
        self._row += 1
        req.kv = SimpleNamespace(req_pool_idx=self._row)
        req.last_node, req.discard_output_reason = place, None
        place.board(req)
        assert place.row == self._row
        assert (place.start, place.end, place.state) == (0, PREFIX, None)
        return True


def test_the_first_that_waits_may() -> None:
    rig = Riders()
    first, second = request("a"), request("a")
    second.rid = "again"
    rig.loader.start([first, second, request("b")], 0)
    assert rig.rides.boarding("nobody") is None
    assert rig.rides.boarding("again") is None
    assert rig.board(first)
    assert rig.rides.boarding("again") is None
    assert rig.board(request("b"))
    assert rig.tier.counters.rides == 2
    rig.tier.check(2)


def test_nobody_does_without_layers() -> None:
    rig = Riders(layerwise=False)
    rig.loader.start([request("a")], 0)
    assert rig.rides.boarding("a") is None
    rig.rides.arm([request("a")])


def test_only_a_batch_with_a_rider_waits() -> None:
    rig, rider, other = Riders(), request("a"), request("b")
    rig.loader.start([rider], 0)
    assert rig.board(rider)
    assert rig.layers is not None
    rig.rides.arm([other])
    assert rig.layers.consumer_index == -1
    rig.rides.arm([other, rider])
    assert rig.layers.consumer_index == 0


def test_landing_publishes_and_keeps_nothing() -> None:
    rig, rider = Riders(), request("a")
    rig.loader.start([rider], 0)
    assert rig.board(rider)
    rig.rides.land([request("b")])
    assert rider.rid in rig.rides
    rig.rides.land([request("b"), rider])
    assert rider.rid not in rig.rides
    assert rig.told.landed_at == {"a": PREFIX}
    assert not rig.told.spoilt
    assert not rig.tier.loads.holds
    assert rider.discard_output_reason is None
    rig.tier.check(2)


@pytest.mark.parametrize("how", ["land", "poll"])
def test_a_failed_load_spoils_its_rider(how: str) -> None:
    rig, rider = Riders(broken=True), request("a")
    rig.loader.start([rider], 0)
    assert rig.board(rider)
    if how == "land":
        rig.rides.land([rider])
    else:
        rig.tier.poll()
        rig.rides.take_ended()
    assert rig.told.spoilt == ["a"]
    assert rig.told.landed_at == {"a": 0}
    assert rider.discard_output_reason.status_code == 503
    assert not rig.tier.loads.holds
    assert rig.tier.failure == "broken"
    assert rig.cache.match(*key_of(rider)).kv_len == 0
    rig.tier.check(2)


class BrokenWrites(Ordered):
    """Loads arrive, write-backs fail; both have ended when somebody asks."""

    def finished(self) -> list[Outcome]:
        ended, self.asked = self.asked, []
        return [
            Outcome(order.ticket, None if order.direction is Direction.LOAD_BACK else "broken")
            for order in ended
        ]


@pytest.mark.parametrize("how", ["land", "poll"])
def test_a_failed_write_back_spoils_nobody(how: str) -> None:
    rig, rider = Riders(), request("a")
    rig.moving = rig.tier.tickets.transfers = BrokenWrites()
    rig.loader.start([rider], 0)
    assert rig.board(rider)
    rig.publish(20, "z")
    rig.tier.poll(Ready())  # begins the write-back
    assert len(rig.tier.tickets) == 2
    if how == "land":
        rig.rides.land([rider])
        rig.tier.poll()
    else:
        rig.tier.poll()
        rig.rides.take_ended()
    assert rig.tier.failure == "broken"
    assert rig.told.spoilt == []
    assert rig.told.landed_at == {"a": PREFIX}
    assert rider.discard_output_reason is None
    assert rig.cache.match(*key_of(rider)).kv_len == PREFIX
    rig.tier.check(2)
