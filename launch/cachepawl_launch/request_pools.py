"""SGLang's request pools: rows, their states, and where the cache learns of both.

`alloc` is the one place where a batch gets its rows, after admission and before its
KV: rows are opened in the cache here, the KV allocator is told what comes, and a
matched state becomes the copy source of the request's own slot.  A request that was
matched but not admitted has taken nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from sglang.srt.mem_cache.memory_pool import HybridReqToTokenPool, ReqToTokenPool

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.arena import Arena
from cachepawl_launch.boarding import Boarding
from cachepawl_launch.indices import key_of
from cachepawl_launch.pools import ArenaMambaPool
from cachepawl_launch.state_allocator import ArenaSlotAllocator
from cachepawl_launch.token_allocator import ArenaTokenAllocator, Span
from cachepawl_patches.arrival import arrived

EMPTY = -1
# What HybridReqToTokenPool.free_mamba_cache resets.
REQUEST_STATE_FIELDS = (
    "mamba_pool_idx",
    "mamba_ping_pong_track_buffer",
    "mamba_ping_pong_empty",
    "mamba_next_track_idx",
    "mamba_last_track_idx",
    "mamba_last_track_seqlen",
    "mamba_prev_track_seqlen",
    "mamba_cow_src_index",
)


class _Rows:
    """What both request pools do with rows.  `cache` and `kv_allocator` are set at start."""

    cache: HybridPrefixCache
    kv_allocator: ArenaTokenAllocator

    def _open(self, reqs: list[Any], fresh: list[bool]) -> None:
        for req, new in zip(reqs, fresh, strict=True):
            if new:
                row = req.kv.req_pool_idx
                if isinstance(req.last_node, Boarding):
                    req.last_node.board(req)
                else:
                    self.cache.open_row(row, req.last_node, req.prefix_len)
                if self.cache.policy.learns:
                    self.cache.begin(row, key_of(req), arrived(req))
        self.kv_allocator.expect(
            [Span(req.kv.req_pool_idx, req.prefix_len, req.extend_end) for req in reqs]
        )

    def _close(self, rows: list[int]) -> None:
        for row in rows:
            if row in self.cache.refs.rows:
                self.cache.close_row(row)


class ArenaRowPool(_Rows, ReqToTokenPool):
    """Rows of a pure-attention model."""

    def __init__(self, *, cache: HybridPrefixCache, **stock: Any) -> None:
        self.cache = cache
        super().__init__(**stock)

    def alloc(self, reqs: list[Any]) -> list[int] | None:
        fresh = [not req.kv.holds_kv for req in reqs]
        rows = super().alloc(reqs)
        if rows is not None:
            self._open(reqs, fresh)
        return rows

    def free_rows(self, indices: list[int]) -> None:
        self._close(indices)
        super().free_rows(indices)


class ArenaHybridRowPool(_Rows, HybridReqToTokenPool):
    """Rows and states of a hybrid model.

    The ids of the tracking (ping-pong) slots are kept on the host by row, because
    SGLang stacks and clones the tensors that hold them.
    """

    def __init__(
        self, *, cache: HybridPrefixCache, arena: Arena, corrupt_copies: bool, **stock: Any
    ) -> None:
        self.cache = cache
        self.mamba_pool_cls = functools.partial(
            ArenaMambaPool, arena=arena, corrupt_copies=corrupt_copies
        )
        super().__init__(**stock)
        self.mamba_allocator = ArenaSlotAllocator(cache, self.device)
        shape = (self._alloc_size, self.mamba_ping_pong_track_buffer_size)
        self.tracking = np.full(shape, EMPTY, np.int64)

    # -- a batch gets its rows ------------------------------------------------------

    def alloc(self, reqs: list[Any]) -> list[int] | None:
        fresh = [not req.kv.holds_kv for req in reqs]
        stateless = [not req.kv.holds_mamba for req in reqs]
        rows = super().alloc(reqs)
        if rows is None:
            return None
        self._open(reqs, fresh)
        for req, new in zip(reqs, stateless, strict=True):
            state = req.last_node.state if new and req.prefix_len else None
            if state is not None:
                self.start_from(req, state)
        return rows

    def start_from(self, req: Any, state: int) -> None:
        """The matched state becomes the source of a copy to the request's own slot."""
        req.kv.mamba_cow_src_index = self.mamba_allocator.ids.to_device([state])
        req.kv.mamba_needs_clear = False

    def free_rows(self, indices: list[int]) -> None:
        self._close(indices)
        super().free_rows(indices)

    # -- tracking slots -------------------------------------------------------------

    def _alloc_ping_pong_buffer(self, req: Any) -> None:
        super()._alloc_ping_pong_buffer(req)
        slots = self.mamba_allocator.last_slots
        row = self.tracking[req.kv.req_pool_idx]
        row[:] = EMPTY
        row[: len(slots)] = slots

    def set_mamba_ping_pong_slot(self, req: Any, idx: int, value: Any) -> None:
        super().set_mamba_ping_pong_slot(req, idx, value)
        held = torch.is_tensor(value)
        slot = self.mamba_allocator.ids.to_host(value)[0] if held else EMPTY
        self.tracking[req.kv.req_pool_idx, idx] = slot

    def tracking_slot(self, req: Any, idx: int) -> int:
        """The slot id in a tracking entry, or EMPTY."""
        return int(self.tracking[req.kv.req_pool_idx, idx])

    def active_slot(self, req: Any) -> int:
        """The slot id that the request computes in."""
        return self.mamba_allocator.ids.to_host(req.kv.mamba_pool_idx)[0]

    def give_tracking_slot(self, req: Any, idx: int, replacement: int) -> None:
        """The tree took the slot in entry `idx`; the request goes on with another."""
        self.set_mamba_ping_pong_slot(
            req, idx, self.mamba_allocator.ids.to_device([replacement])[0]
        )

    def free_mamba_cache(
        self, req: Any, mamba_ping_pong_track_buffer_to_keep: int | None = None
    ) -> None:
        """The request's slots are free; a tracking entry the tree took over stays."""
        kv = req.kv
        slots = [self.active_slot(req)]
        if self.enable_mamba_extra_buffer:
            row = self.tracking[kv.req_pool_idx]
            if mamba_ping_pong_track_buffer_to_keep is not None:
                row[mamba_ping_pong_track_buffer_to_keep] = EMPTY
            slots += [int(slot) for slot in row if slot != EMPTY]
            row[:] = EMPTY
        self.cache.free_states(slots)
        self.forget_states(req)

    def forget_states(self, req: Any) -> None:
        """The request holds no state any more, whoever has them now."""
        for name in REQUEST_STATE_FIELDS:
            setattr(req.kv, name, None)
        req.kv.mamba_needs_clear = False
