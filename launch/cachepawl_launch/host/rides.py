"""Requests that run on their load: the forward waits for its bytes, layer by layer.

    matched (Boarding) -> admitted: the load's row is the request's -> forward -> landed

A request lands when its load has ended, at the latest before anything is made of what it
computed: its result, a checkpoint, its end, its retraction.  By then the forward has waited
for every byte, so that costs no time.  If the load failed, SGLang drops the result and ends
the request with an error; nothing of it was published or sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from sglang.srt.managers.schedule_batch import FINISH_ABORT

from cachepawl.offload.arena_transfers import ArenaTransfers
from cachepawl.offload.tier import HostTier
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.boarding import Boarding
from cachepawl_launch.host.agreement import Agree
from cachepawl_launch.host.layer_waits import LayerWaits

LOST = "cachepawl: the load of this request's prefix from the host failed; send it again"


class Rides:
    """By request; empty and idle where `waits` is None: there every request waits until loaded."""

    def __init__(
        self,
        tier: HostTier,
        copies: ArenaTransfers,
        tree_cache: CachepawlPrefixCache,
        agree: Agree,
        waits: LayerWaits | None,
    ) -> None:
        self._tier = tier
        self._copies = copies
        self._cache = tree_cache
        self._agree = agree
        self._waits = waits
        self._riding: dict[str, Any] = {}

    def boarding(self, rid: str) -> Boarding | None:
        """A place for a waiting request, if it is the first that waits for a load under way."""
        ticket = None if self._waits is None else self._tier.loads.boardable(rid)
        return None if ticket is None else Boarding(ticket, self._board)

    def _board(self, req: Any) -> None:
        slot = self._tier.ride(req.rid, req.kv.req_pool_idx)
        assert slot == req.last_node.state
        self._riding[req.rid] = req

    def __contains__(self, rid: str) -> bool:
        return rid in self._riding

    def arm(self, reqs: Iterable[Any]) -> None:
        """The next forward is of these requests: it waits if one of them rides."""
        if self._waits is not None:
            self._waits.arm(any(req.rid in self._riding for req in reqs))

    def land(self, reqs: Iterable[Any]) -> None:
        """Know what came of the loads that some of these run on.  All ranks ask at once."""
        if self._riding and any(req.rid in self._riding for req in reqs):
            self._copies.wait_loads()
            self._end()
            while any(req.rid in self._riding for req in reqs):  # told late, or behind a failure
                self._tier.tickets.transfers.wait()
                self._end()

    def _end(self) -> None:
        self._tier.end_loads(self._agree(self._tier.ready()))
        self.take_ended()

    def take_ended(self) -> None:
        """Behind every poll: who has landed goes on like any other request."""
        for ride in self._tier.rides_ended():
            req = self._riding.pop(ride.request)
            node = self._tier.loads.holds[ride.request].node
            if ride.error is None:
                self._cache.landed(req, node, req.last_node.end, replaced=ride.replaced)
                self._tier.used(node)
            else:
                self._cache.landed(req, node, req.last_node.start, replaced=False)
                self._cache.spoil(req.rid)
                req.discard_output_reason = FINISH_ABORT(LOST, HTTPStatus.SERVICE_UNAVAILABLE)
            self._tier.settle(ride.request)
