"""How a request's states reach the tree compressed: copied into checkpoints, never handed over.

The request keeps its slots.  A finished one first gives back all but the slot that the state
is in, so that there is a frame for the checkpoint even where everything else is locked.
"""

from __future__ import annotations

from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl_launch.checkpoints import CheckpointCopies
from cachepawl_launch.request_pools import ArenaHybridRowPool
from cachepawl_launch.states import HasState, Offer, SingleState, TrackedStates


class CompressedRowPool(ArenaHybridRowPool):
    """Rows whose matched state is expanded into the request's own slot."""

    def __init__(self, *, copies: CheckpointCopies, **rest: Any) -> None:
        super().__init__(**rest)
        self.copies = copies

    def start_from(self, req: Any, state: int) -> None:
        self.copies.expand(state, self.active_slot(req))
        req.kv.mamba_needs_clear = False


class CompressedStates:
    """Offers checkpoints, with the snapshots that `plain` knows of."""

    def __init__(
        self, cache: HybridPrefixCache, pool: CompressedRowPool, plain: TrackedStates | SingleState
    ) -> None:
        self.cache = cache
        self.pool = pool
        self.plain = plain
        self.grid = plain.grid

    def offer(self, req: Any, up_to: int, has_state: HasState, leaves: bool) -> Offer:
        found = self.plain.snapshot(req, up_to, leaves)
        if found is None:
            return Offer()
        depth, slot, entry = found
        if has_state(depth):
            return Offer(depth)
        detached = None
        if leaves and entry is not None:
            self.pool.free_mamba_cache(req, mamba_ping_pong_track_buffer_to_keep=entry)
            detached = slot
        checkpoint = self.cache.try_checkpoint()
        if checkpoint is None:
            self.cache.counters.checkpoints_skipped += 1
            return Offer(refused=depth, detached=detached)
        return Offer(depth, checkpoint, source=slot, detached=detached)

    def settle(self, req: Any, offer: Offer, taken: bool, leaves: bool) -> None:
        if offer.slot is not None and offer.source is not None:
            if taken:
                self.pool.copies.compress(offer.source, offer.slot)
            else:
                self.cache.drop_checkpoint(offer.slot)
        if not leaves:
            self.plain.seen(req)
        elif offer.detached is None:
            self.pool.free_mamba_cache(req)
        else:
            self.cache.free_states([offer.detached])
