"""Which loads begin: those whose requests would then fit, and none in the room of those before."""

from __future__ import annotations

from typing import Any

import pytest
from host_rig import LENGTH, PAGE, AtOnce, Rig, key_of, request

from cachepawl.offload.load_backs import Load
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.transfers import Outcome


def test_as_many_as_would_fit() -> None:
    assert Rig(40).waiting("abcd") == "abcd"
    # A prompt is 8 pages, and each request wants a page more.
    assert Rig(27).waiting("abcd") == "abc"


def test_running_answers_keep_room() -> None:
    assert Rig(27).waiting("abcd", running=1) == "ab"


def test_who_does_not_fit_is_not_overtaken() -> None:
    rig = Rig(18)
    assert rig.waiting("xab") == "a"  # nobody has x; a fits beside it, b does not
    assert Rig(8).waiting("xa") == ""


def test_what_came_is_told_once_admitted() -> None:
    rig = Rig(40)
    rig.waiting("a")
    (order,) = rig.moving.asked
    rig.moving.finished = lambda: [Outcome(order.ticket, None)]  # type: ignore[method-assign]
    rig.tier.poll()
    assert rig.tier.loads.holds
    found = rig.cache.match(*key_of(request("a")))
    admitted = request("a")
    admitted.prefix_len, admitted.last_node = found.usable_len, found.node
    assert rig.loader.from_host(admitted) == LENGTH - PAGE
    rig.loader.admitted(admitted)
    assert not rig.tier.loads.holds
    stats = rig.loader.stats()
    assert (stats["host_hit_tokens"], stats["host_hit_requests"]) == (LENGTH - PAGE, 1)
    assert stats["host_waits"] == 1
    assert rig.loader.from_host(admitted) == 0


def test_who_does_not_fit_holds_up_those_behind() -> None:
    """Its place is told if the host has something for it; else it may be computed at once."""
    assert Rig(40).start("abcd") == 4
    assert Rig(27).start("abcd") == 3
    assert Rig(27).start("abcz") == 4


CROWD = 3
"""So many answers leave no room for a prompt in 27 pages."""


class Counting(Rig):
    """One queue, step after step; counts what is looked up."""

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        self.looks = 0
        match = self.tier.match

        def counted(*args: Any) -> TierMatch:
            self.looks += 1
            return match(*args)

        self.tier.match = counted  # type: ignore[method-assign]

    def steps(self, names: str, count: int = 50, *, running: int = 0) -> tuple[int, int]:
        """Lookups in so many steps, and the last answer."""
        before, at = self.looks, -1
        for _ in range(count):
            at = self.start(names, running)
        return self.looks - before, at

    def write_back(self, row: int, name: str) -> None:
        """The device computes something, and its copy arrives on the host."""
        self.tier.tickets.transfers = AtOnce()
        self.publish(row, name)
        for _ in range(2):
            self.tier.poll()


@pytest.mark.parametrize(("name", "at"), [("a", 0), ("z", 1)])
def test_who_does_not_fit_is_looked_up_once(name: str, at: int) -> None:
    """Whether the host has something for it or not."""
    rig = Counting(27)
    assert rig.steps(name, running=CROWD) == (1, at)
    assert rig.steps(name, running=CROWD) == (0, at)
    rig.loader.settle(name)
    assert rig.steps(name, running=CROWD) == (1, at)


def test_who_fits_is_looked_up_once() -> None:
    rig = Counting(60)
    assert rig.steps("xyz") == (3, 3)
    assert rig.steps("xyz") == (0, 3)


def test_what_left_the_host_is_looked_up_again() -> None:
    rig = Counting(27)
    assert rig.steps("a", running=CROWD) == (1, 0)
    rig.tier.host.evict_tokens(10**6)
    assert rig.steps("a", running=CROWD) == (1, 1)


def test_what_came_to_the_host_is_looked_up_again() -> None:
    rig = Counting(27)
    assert rig.steps("z", running=CROWD) == (1, 1)
    rig.write_back(20, "z")
    rig.cache.evict_tokens(10**6)
    assert rig.steps("z", running=CROWD) == (1, 0)


def test_what_left_the_device_is_looked_up_again() -> None:
    """It was there when the request came, so there was nothing to load."""
    rig = Counting(27)
    rig.write_back(20, "z")
    assert rig.steps("z") == (1, 1)
    rig.cache.evict_tokens(10**6)
    assert rig.waiting("z") == "z"


def test_who_waits_for_a_load_is_looked_up_once_more_when_it_has_come() -> None:
    rig = Counting(40)
    rig.tier.tickets.transfers = AtOnce()
    assert rig.steps("a") == (1, 1)
    rig.tier.poll()
    assert rig.steps("a") == (1, 1)
    assert "a" in rig.tier.loads.holds


def test_a_refusal_stands_until_the_room_changes() -> None:
    rig = Counting(40)
    answer, open_target = [Load.REFUSED], rig.tier.load

    def load(*args: Any) -> Load:
        return answer[0] if answer[0] is Load.REFUSED else open_target(*args)

    rig.tier.load = load  # type: ignore[method-assign]
    assert rig.steps("a") == (1, 0)
    assert rig.steps("a") == (0, 0)
    answer[0] = Load.STARTED
    rig.publish(20, "z")
    assert rig.steps("a", 1) == (1, 1)
    assert rig.tier.waits("a")
