"""Which loads begin: those whose requests would then fit, and none in the room of those before."""

from __future__ import annotations

from host_rig import LENGTH, PAGE, Rig, key_of, request

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
