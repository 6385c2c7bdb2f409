"""A prompt of which some chunks are computed comes before those who wait."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

from host_rig import LENGTH, PAGE, Rig, key_of, request

from cachepawl.offload.transfers import Outcome
from cachepawl_launch.host.steps import HostSteps

ROW = 50


class Half(Rig):
    """A prompt of twice the usual length has half of its room; `a` was loaded beside it."""

    def __init__(self, pages: int) -> None:
        super().__init__(pages)
        copies = SimpleNamespace(begin_loads=lambda: None)
        cache = SimpleNamespace(awaited=key_of)
        parts: Any = SimpleNamespace(copies=copies)
        self.steps = HostSteps(self.tier, parts, cache, lambda done: done)  # type: ignore[arg-type]
        self.goes_on = SimpleNamespace(
            rid="half",
            origin_input_ids=array("q", [1] * 2 * LENGTH),
            output_ids=array("q"),
            kv=SimpleNamespace(req_pool_idx=ROW),
        )
        self.cache.open_row(ROW, self.cache.tree.root, 0)
        self.cache.allocate(ROW, LENGTH)
        assert self.waiting("a") == "a"
        (order,) = self.moving.asked
        self.moving.finished = lambda: [Outcome(order.ticket, None)]  # type: ignore[method-assign]
        self.tier.poll()
        self.moving.finished = list  # type: ignore[method-assign]
        assert self.tier.loads.holds

    def step(self, queue: str) -> None:
        """SGLang fills a batch."""
        running = SimpleNamespace(reqs=[], is_empty=lambda: True, batch_is_full=False)
        scheduler = SimpleNamespace(
            waiting_queue=[request(name) for name in queue], chunked_req=self.goes_on
        )
        plan = SimpleNamespace(batch_to_run=None)
        self.steps.fill_batch(lambda scheduler, running: plan, scheduler, running)


def test_what_waits_is_let_go_for_it() -> None:
    """It has 8 of its 17 pages, and what was loaded takes 7."""
    rig = Half(23)
    rig.step("a")
    assert not rig.tier.loads.holds
    assert rig.cache.fits(LENGTH + PAGE, 0)


def test_what_waits_is_kept_beside_it() -> None:
    rig = Half(24)
    rig.step("a")
    assert rig.tier.loads.holds


def test_nothing_is_loaded_into_its_room() -> None:
    rig = Half(34)
    rig.step("ab")
    assert not rig.tier.waits("b")
    rig = Half(35)
    rig.step("ab")
    assert rig.tier.waits("b")
