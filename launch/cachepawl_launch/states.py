"""How a request's states reach the tree: what it can offer, and what is left after.

Three ways, by what SGLang keeps for a running request:
- `TrackedStates`: one active slot and tracking slots that the forward fills at grid
  depths (the extra buffer).  A tracking slot changes hands; nothing is copied.
- `SingleState`: the active slot alone.  A finished request gives it away; a running
  one copies it, so a state exists where a prefill chunk ends.
- `NoStates`: pure attention.

An offer that finds no slot for the copy or the exchange is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sglang.srt import runtime_context

from cachepawl.cache import HybridPrefixCache


@dataclass
class Offer:
    """KV up to `depth` tokens, and the state at exactly that depth (None: KV alone)."""

    depth: int = 0
    slot: int | None = None
    entry: int | None = None
    """The tracking entry that holds `slot`."""
    spare: int | None = None
    """A fresh slot: replaces `slot` if the tree takes it, else it is given back."""
    source: int | None = None
    """Where `slot` is a checkpoint: the slot that is to be compressed into it."""
    detached: int | None = None
    """A slot that the finished request does not list any more, to be given back."""
    refused: int = 0
    """The depth of a state that nothing could be offered for: all memory is locked."""


class Snapshot(NamedTuple):
    """A state of a request: at `depth` tokens, in a slot, which a tracking entry may hold."""

    depth: int
    slot: int
    entry: int | None


HasState = Callable[[int], bool]
"""Whether the tree has a state at a depth of the request already."""


class StateHandover(Protocol):
    """One of the three ways."""

    grid: int
    """Depths of snapshots are multiples of this from where a forward started, in tokens."""

    def offer(self, req: Any, up_to: int, has_state: HasState, leaves: bool) -> Offer:
        """What a checkpoint at row position `up_to` can publish.

        `leaves`: the request is finished or retracted, so it needs its slots no more.
        """

    def settle(self, req: Any, offer: Offer, taken: bool, leaves: bool) -> None:
        """After it: `taken` says whether the tree owns `offer.slot` now.

        A request that leaves holds no slot behind it.
        """


class NoStates:
    """Pure attention: KV alone, at any page."""

    grid = 1

    def offer(self, req: Any, up_to: int, has_state: HasState, leaves: bool) -> Offer:
        return Offer(depth=up_to)

    def settle(self, req: Any, offer: Offer, taken: bool, leaves: bool) -> None:
        """A request without states leaves none."""


class _States:
    def __init__(self, cache: HybridPrefixCache, pool: Any, grid: int) -> None:
        self.cache = cache
        self.pool = pool
        self.grid = grid

    def _spare(self) -> int | None:
        slots = self.cache.try_states(1)
        if slots is None:
            self.cache.counters.checkpoints_skipped += 1
            return None
        return slots[0]


class TrackedStates(_States):
    """Tracking slots filled by the forward at grid depths."""

    def __init__(self, cache: HybridPrefixCache, pool: Any, grid: int, *, answers: int) -> None:
        """`answers`: tokens between snapshots of an answer."""
        super().__init__(cache, pool, grid)
        self._answers = answers

    def offer(self, req: Any, up_to: int, has_state: HasState, leaves: bool) -> Offer:
        found = self.snapshot(req, up_to, leaves)
        if found is None:
            return Offer()
        depth, slot, entry = found
        if leaves:
            return Offer(depth, slot, entry)
        if has_state(depth):
            return Offer(depth)
        spare = self._spare()
        return Offer(refused=depth) if spare is None else Offer(depth, slot, entry, spare)

    def snapshot(self, req: Any, up_to: int, leaves: bool) -> Snapshot | None:
        """The newest snapshot that the tree may not have and could publish."""
        depth, entry = self._newest(req, up_to, leaves)
        if depth <= req.kv.cache_protected_len or depth % self.cache.geometry.page_tokens:
            return None
        return Snapshot(depth, self.pool.tracking_slot(req, entry), entry)

    def _newest(self, req: Any, up_to: int, leaves: bool) -> tuple[int, int]:
        """Depth and tracking entry of the newest snapshot that the key reaches, or 0.

        Nobody who goes on gives away the older one: the next forward writes there.
        """
        depth = req.kv.mamba_last_track_seqlen or 0
        entry = self.pool.get_mamba_ping_pong_keep_idx(req)
        if depth > up_to and (req.finished() or (leaves and self._keeps_older(req, depth))):
            # The newest overshot the stop; the other entry may hold the one before.
            depth = req.kv.mamba_prev_track_seqlen or 0
            other = self.pool.get_mamba_ping_pong_other_idx(entry)
            if other == entry:
                return 0, entry
            entry = other
        return (depth if depth <= up_to else 0), entry

    def _keeps_older(self, req: Any, newest: int) -> bool:
        """Whether no forward, nor one under way, has reached the depth behind the newest
        snapshot: that one takes the place of the older."""
        return bool(req.kv.kv_committed_len // self._answers == newest // self._answers)

    def settle(self, req: Any, offer: Offer, taken: bool, leaves: bool) -> None:
        if leaves:
            keep = offer.entry if taken else None
            self.pool.free_mamba_cache(req, mamba_ping_pong_track_buffer_to_keep=keep)
            return
        if taken and offer.entry is not None and offer.spare is not None:
            self.pool.give_tracking_slot(req, offer.entry, offer.spare)
        elif offer.spare is not None:
            self.cache.free_states([offer.spare])
        self.seen(req)

    def seen(self, req: Any) -> None:
        """The request's snapshots are not offered again."""
        req.kv.mamba_last_track_seqlen = None
        req.kv.mamba_prev_track_seqlen = None


class SingleState(_States):
    """The active slot alone; its state is that of the last computed token."""

    def offer(self, req: Any, up_to: int, has_state: HasState, leaves: bool) -> Offer:
        found = self.snapshot(req, up_to, leaves)
        if found is None or (leaves and not req.finished() and up_to != req.kv.kv_committed_len):
            return Offer()  # nothing new, or the state is of another depth
        if leaves:
            return Offer(up_to, found.slot)
        if has_state(up_to):
            return Offer(up_to)
        slot = self._spare()
        if slot is None:
            return Offer(refused=up_to)
        copy = self.pool.mamba_allocator.ids.to_device([slot])
        self.pool.mamba_pool.copy_from(req.kv.mamba_pool_idx.unsqueeze(0), copy)
        return Offer(up_to, slot)

    def snapshot(self, req: Any, up_to: int, leaves: bool) -> Snapshot | None:
        """The state of the last computed token, unless the tree has it from before."""
        if up_to <= req.kv.cache_protected_len:
            return None
        return Snapshot(up_to, self.pool.active_slot(req), None)

    def seen(self, req: Any) -> None:
        """The active slot moves on by itself."""

    def settle(self, req: Any, offer: Offer, taken: bool, leaves: bool) -> None:
        if leaves:
            if taken:
                self.pool.forget_states(req)
            else:
                self.pool.free_mamba_cache(req)
        elif offer.slot is not None and not taken:
            self.cache.free_states([offer.slot])


def plain_handover(
    cache: HybridPrefixCache, pool: Any, *, extra_buffer: bool
) -> TrackedStates | SingleState:
    """The way of a model with states that fits the server's flags."""
    if not extra_buffer:
        return SingleState(cache, pool, 1)
    page = cache.geometry.page_tokens
    grid = runtime_context.mamba_checkpoint_grid(page)
    # Asked of the module: how often answers leave snapshots is patched there.
    return TrackedStates(cache, pool, grid, answers=runtime_context.mamba_track_grid(page))
