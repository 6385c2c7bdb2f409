"""What a retracted request leaves is copied in the same step, and nothing of it twice."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

from host_rig import LENGTH, PAGE, Ordered, Rig, request
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.offload.transfers import Outcome
from cachepawl.types import Key
from cachepawl_launch.host.steps import HostSteps

ROW = 50


class Lane(Ordered):
    """Writes end when they are waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0
        self._waited = False

    def wait_writes(self) -> None:
        self._waited = True

    def finished(self) -> list[Outcome]:
        if not self._waited:
            return []
        ended, self.asked, self._waited = self.asked, [], False
        self.pages += sum(order.copy.pages_from.count for order in ended)
        return [Outcome(order.ticket, None) for order in ended]


class Running(Rig):
    """A request whose prompt is published, and on its way to the host; the rest is its own."""

    def __init__(self, depth: int = 2 * LENGTH) -> None:
        """`depth`: of its newest snapshot, when it is retracted."""
        super().__init__(64)
        self.lane = self.moving = self.tier.tickets.transfers = Lane()
        self.req: Any = SimpleNamespace(
            rid="r",
            discard_output_reason=None,
            skip_radix_cache_insert=False,
            last_node=self.cache.tree.root,
        )
        self.cache.open_row(ROW, self.cache.tree.root, 0)
        self.cache.allocate(ROW, 2 * LENGTH)
        self.receipt = self.cache.lock(self.cache.tree.root)
        self.publish_to(LENGTH)
        self.tier.poll()
        assert len(self.lane.asked) == 1
        self.told: list[tuple[object, ...]] = []
        cache: Any = SimpleNamespace(
            leave_resumable=lambda req: self.publish_to(depth),
            awaited=lambda req: (self.key(depth + PAGE), depth + PAGE - 1),
            log=lambda *words: self.told.append(words),
        )
        parts: Any = SimpleNamespace(copies=self.lane)
        self.agreed = 0
        self.steps = HostSteps(self.tier, parts, cache, self.agree)

    def agree(self, ready: Any) -> Any:
        self.agreed += 1
        return ready

    @staticmethod
    def key(depth: int) -> Key:
        return Key(array("q", range(100, 100 + depth)).tobytes())

    def publish_to(self, depth: int) -> None:
        done = self.cache.publish(ROW, self.key(depth), depth, None)
        self.req.last_node = done.node
        receipt, self.receipt = self.receipt, self.cache.lock(done.node)
        self.cache.unlock(receipt)
        self.tier.published(done)


def test_what_is_under_way_already_is_not_copied_again() -> None:
    rig = Running()
    rig.steps.retract(rig.req)
    assert rig.tier.retracted.is_safe("r")
    assert rig.lane.pages == 2 * LENGTH // PAGE
    assert rig.tier.host.counters.duplicate_pages == 0
    assert rig.agreed == 2
    assert not len(rig.tier.tickets)


def test_a_copy_that_fails_then_ends_the_host_and_no_request() -> None:
    rig = Running()
    ticket = rig.lane.asked.pop().ticket
    rig.lane.finished = lambda: [Outcome(ticket, "broken")]  # type: ignore[method-assign]
    rig.steps.retract(rig.req)
    assert rig.tier.failure == "broken"
    assert not rig.tier.retracted.is_safe("r")
    assert not len(rig.tier.tickets)


@settings(max_examples=20, deadline=None)
@given(st.integers(LENGTH // PAGE + 1, 2 * LENGTH // PAGE), st.integers(0, 2 * LENGTH // PAGE))
def test_it_goes_on_from_exactly_what_was_parked(parked: int, left: int) -> None:
    """Whatever the device still has of it: all, some, or nothing, and the rest is loaded."""
    depth = parked * PAGE
    rig = Running(depth)
    rig.steps.retract(rig.req)
    assert rig.told == [("retract", depth, True)]
    rig.cache.unlock(rig.receipt)
    rig.cache.release(ROW, depth, 2 * LENGTH)
    rig.cache.close_row(ROW)
    rig.cache.evict_tokens(max(0, depth - left * PAGE))
    had = rig.cache.tree.peek(rig.key(depth)).usable_len
    again = request("r")
    loader = rig.steps.loader
    loader.start([again], 0)
    rig.lane.wait_writes()
    rig.tier.poll()
    found = rig.cache.match(rig.key(depth + PAGE), depth + PAGE - 1)
    again.prefix_len, again.last_node = found.usable_len, found.node
    assert loader.from_host(again) == depth - had
    loader.admitted(again)
    assert rig.told[1:] == [("resume", depth, depth)]
    assert rig.tier.retracted.parked("r") is None
    counters = rig.tier.counters
    assert (counters.retractions_resumed_tokens, counters.retractions_short) == (depth, 0)
    assert counters.load_tokens == depth - had
