"""The host tier in the steps of SGLang's scheduler; the seams are those of decision 23.

poll            first thing in a step: what ended is taken, write-backs begin
fill_batch      loads begin; SGLang fills a batch from those that wait for none
retract         what a retracted request can go on from is published and written
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cachepawl.offload.tickets import LOAD, WRITE
from cachepawl.offload.tier import HostTier
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.boarding import Boarding
from cachepawl_launch.host.agreement import Agree
from cachepawl_launch.host.layer_waits import LayerWaits
from cachepawl_launch.host.loading import Loader, room_of
from cachepawl_launch.host.parts import HostParts
from cachepawl_launch.host.rides import Rides
from cachepawl_launch.host.waiting import join, split

logger = logging.getLogger(__name__)


class HostSteps:
    """Called by the patches, on every rank in the same steps."""

    def __init__(
        self,
        tier: HostTier,
        parts: HostParts,
        tree_cache: CachepawlPrefixCache,
        agree: Agree,
        waits: LayerWaits | None = None,
    ) -> None:
        """`waits`: requests begin while their prefix is loaded; None: they wait until it is."""
        self.tier = tier
        self.parts = parts
        self.loader = Loader(tier, tree_cache)
        self._cache = tree_cache
        self._agree = agree
        self.rides = Rides(tier, parts.copies, tree_cache, agree, waits)
        tier.on_failure = self._failed

    def _failed(self, reason: str) -> None:
        logger.error("cachepawl: the host tier is out of use, the device goes on alone: %s", reason)

    # -- a step ---------------------------------------------------------------------------

    def poll(self, scheduler: Any) -> None:
        """End what has ended on all ranks, begin write-backs; running requests go first."""
        self._poll()
        self._cache.push_metrics()
        rows = len(scheduler.running_batch.reqs)
        if scheduler.last_batch is not None:
            rows += len(scheduler.last_batch.reqs)
        self._make_way(rows)

    def _poll(self) -> None:
        """All ranks have the same tickets, so all of them ask for agreement or none."""
        if not len(self.tier.tickets):
            self.tier.poll()
            return
        done = self.tier.poll(self._agree(self.tier.ready()))
        self.rides.take_ended()
        if done.loads:
            self.loader.arrived()
        if done.writes or done.loads:
            self._cache.log("host", *done)

    def _make_way(self, rows: int) -> None:
        """Nothing is kept for those who wait, or moved, in the room of those who run.

        Where they need it the step waits for the transfers: SGLang aborts the last running
        request that finds no page.
        """
        device = self.tier.device
        tokens = rows * device.geometry.page_tokens
        if not rows or device.fits(tokens, 0):
            return
        self.tier.yield_holds()
        if not device.fits(tokens, 0) and len(self.tier.tickets):
            with self.loader.waits.step():
                self.tier.tickets.transfers.wait()
            self._poll()
            self.tier.yield_holds()

    def _end_transfers(self) -> None:
        """Wait for all that is under way; nothing new begins."""
        with self.loader.waits.step():
            self.tier.tickets.transfers.wait()
        done = self._agree(self.tier.ready())
        self.tier.end_loads(done)
        self.rides.take_ended()
        self.loader.arrived()
        self.tier.end_writes(done)

    def fill_batch(self, original: Callable[..., Any], scheduler: Any, running_batch: Any) -> Any:
        """SGLang's `get_new_batch_prefill`, for those that wait for no load."""
        before, held = scheduler.waiting_queue, frozenset[int]()
        goes_on = scheduler.chunked_req
        rest = 0 if goes_on is None else self._rest_of(goes_on)
        if rest and not self.tier.device.fits(rest, 0):
            self.tier.yield_holds()  # those who wait may be waiting for its end
        if before and (running_batch.is_empty() or not running_batch.batch_is_full):
            held = self._begin_loads(before, len(running_batch.reqs), rest)
        ready, waiting = split(before, lambda req: id(req) in held or self._waits(req))
        if waiting:
            scheduler.waiting_queue = ready
        try:
            plan = original(scheduler, running_batch)
        finally:
            if waiting:
                scheduler.waiting_queue = join(before, scheduler.waiting_queue, waiting)
        self._admit(plan.batch_to_run, goes_on)
        return plan

    def _waits(self, req: Any) -> bool:
        """Whether a request can not be admitted now."""
        return self.tier.waits(req.rid) and self.rides.boarding(req.rid) is None

    def _rest_of(self, req: Any) -> int:
        """Tokens of room that a prompt still takes of which some chunks are computed."""
        device = self.tier.device
        page, row = device.geometry.page_tokens, device.refs.rows[req.kv.req_pool_idx]
        return max(0, room_of(req, page) - row.count * page)

    def _begin_loads(self, queue: list[Any], running: int, rest: int) -> frozenset[int]:
        """Begin loads; which requests had better not be admitted while they are under way.

        `rest`: tokens of room that are spoken for.
        """
        if self.tier.failure is not None:
            return frozenset()
        first = self.loader.start(queue, running, rest)
        if first < len(queue) and not running and len(self.tier.tickets):
            # What is being copied pins the room, and nobody else has a use for the time.
            self._end_transfers()
            first = self.loader.start(queue, running, rest)
        self.parts.copies.begin_loads()
        if not self.tier.tickets.under_way[LOAD]:
            return frozenset()
        return frozenset(id(req) for req in queue[first:])

    def _admit(self, batch: Any, goes_on: Any) -> None:
        self.rides.arm(batch.reqs if batch is not None else ())
        if batch is None:
            return
        running = {id(req) for req in batch.decoding_reqs or ()} | {id(goes_on)}
        for req in batch.reqs:
            if id(req) not in running:
                self.loader.admitted(req)

    def retract(self, req: Any) -> None:
        """A running request is about to give its row back, and will be queued again."""
        self.land(req)
        if req.discard_output_reason is not None:
            req.discard_output_reason = None  # it begins anew
        elif self.tier.failure is None and not req.skip_radix_cache_insert:
            self._cache.leave_resumable(req)
            self._back_up(req)

    def _back_up(self, req: Any) -> None:
        """Its room is needed now, so the step waits for the copy, which is what the host lacks.

        To compute it again would take longer.  Older copies come before it in any case, so they
        are ended first: what they bring is not copied again.
        """
        if self.tier.tickets.under_way[WRITE]:
            self._end_writes()
        if self.tier.back_up(req.rid, req.last_node):
            self._end_writes()
        parked = self.tier.retracted.parked(req.rid)
        if parked is not None:
            self._cache.log("retract", parked, self.tier.retracted.is_safe(req.rid))

    def _end_writes(self) -> None:
        with self.loader.waits.step():
            self.parts.copies.wait_writes()
        self.tier.end_writes(self._agree(self.tier.ready()))

    def before_results(self, batch: Any) -> None:
        """What a batch computed is about to be looked at."""
        self.rides.land(batch.reqs)

    def boarding(self, rid: str) -> Boarding | None:
        """Where a waiting request may begin although its prefix is being loaded."""
        return self.rides.boarding(rid)

    def land(self, req: Any) -> None:
        """Know what came of the load that a request runs on, if it runs on one."""
        self.rides.land((req,))

    def is_idle(self) -> bool:
        """Whether nothing is being copied."""
        return not len(self.tier.tickets)

    # -- requests and the whole --------------------------------------------------------------

    def from_host(self, req: Any) -> int:
        """Tokens of the prefix of a request that were loaded for it."""
        return self.loader.from_host(req)

    def settle(self, rid: str) -> None:
        """The request waits no more, or is gone.  Safe for any name."""
        self.loader.settle(rid)

    def refused_alone(self) -> bool:
        """Nothing runs, and the first request does not fit: True when that is to be tried again.

        Its room may be held for others who wait.
        """
        held = bool(self.tier.loads.holds)
        self.tier.yield_holds()
        return held or not self.is_idle()

    def reset(self) -> None:
        """Empty both tiers, waiting for what is under way."""
        self.tier.reset()
        self.loader.clear()

    def close(self) -> None:
        """The process ends: wait for all copies and unlock the memory."""
        writes, loads = (len(self.tier.tickets.under_way[way]) for way in (WRITE, LOAD))
        self.tier.drain()
        self.parts.close()
        logger.info(
            "cachepawl: the host tier is closed; at the end %d writes and %d loads were under way",
            writes,
            loads,
        )

    def stats(self) -> dict[str, int]:
        """Sizes and totals; all names begin with `host_`."""
        return self.tier.stats() | self.loader.stats()
