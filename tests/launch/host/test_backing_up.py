"""What a retracted request leaves is copied in the same step, and nothing of it twice."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

from host_rig import LENGTH, PAGE, Ordered, Rig

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

    def __init__(self) -> None:
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
        cache: Any = SimpleNamespace(leave_resumable=lambda req: self.publish_to(2 * LENGTH))
        parts: Any = SimpleNamespace(copies=self.lane)
        self.agreed = 0
        self.steps = HostSteps(self.tier, parts, cache, self.agree)

    def agree(self, ready: Any) -> Any:
        self.agreed += 1
        return ready

    def publish_to(self, depth: int) -> None:
        key = Key(array("q", range(100, 100 + depth)).tobytes())
        done = self.cache.publish(ROW, key, depth, None)
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
