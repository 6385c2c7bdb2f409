"""SGLang 0.5.23's cache as its scheduler drives it, one request at a time.

Its own code, called in its scheduler's order: `Req.init_next_round_input` (match, copy of the
state), `lock`, then for each chunk `ensure_mamba_capacity` and `HybridReqToTokenPool.alloc`,
`evict_from_tree_cache`, `ScheduleBatch._mamba_radix_cache_v2_req_prepare_for_extend` (where the
snapshot is taken, branch points included) and `checkpoint_kv_cache`; at the end
`release_kv_cache`.  Ours are the memory (`pools`), the length of chunks, and the decode, which
here is pages alone.

What would crash or hang the server is done as well as it can be instead, and counted:
`rescues` are evictions of states because KV found no bytes and no leaf was left.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Literal, NamedTuple

import torch
from sglang.srt.configs.mamba_utils import Mamba2CacheParams, Mamba2StateShape
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req, ScheduleBatch
from sglang.srt.mem_cache.allocation import ensure_mamba_capacity
from sglang.srt.mem_cache.base_prefix_cache import EvictParams
from sglang.srt.mem_cache.common import (
    checkpoint_kv_cache,
    evict_from_tree_cache,
    release_kv_cache,
)
from sglang.srt.mem_cache.memory_pool import HybridReqToTokenPool
from sglang.srt.sampling.sampling_params import SamplingParams

from benchmarks.policy.pools import Memory, StateIds, TokenIds
from benchmarks.sglang_tree import make_cache
from cachepawl.snapshots import SnapshotPlan

STATES_OF_ONE = 5
"""Slots that one request needs: its own three, the state it starts on, one to hand over."""
Snapshots = Literal["sglang", "ours"]


class Served(NamedTuple):
    """What came of one request; tokens."""

    usable: int
    fits: bool
    """Else it was refused: the empty memory cannot hold it."""


class SglangServer:
    """One cache.  Valid inside `benchmarks.sglang_tree.sglang_context` of its page and grid."""

    def __init__(
        self,
        memory: Memory,
        page: int,
        grid: int,
        *,
        chunk: int,
        longest: int,
        snapshots: Snapshots = "sglang",
        core: str = "rust",
    ) -> None:
        """`longest`: tokens of the longest request, answer included.

        `snapshots`: where chunks end, so where states are: as SGLang has it, or where
        cachepawl's server ends them.
        """
        self.memory, self.page, self.grid, self.chunk = memory, page, grid, chunk
        self.plan = SnapshotPlan(grid, enabled=snapshots == "ours")
        self.rows = _rows(longest + page)
        self.rows.mamba_allocator = StateIds(memory)
        self.tokens = TokenIds(memory, page)
        self.cache = make_cache(core, page, self.rows, self.tokens)
        # `self` of the method that plans snapshots: all that it reads of a batch.
        text = SimpleNamespace(mamba_chunk_size=grid)
        self._batch = SimpleNamespace(
            model_config=SimpleNamespace(hf_text_config=text),
            tree_cache=self.cache,
            req_to_token_pool=self.rows,
        )
        self._params = SamplingParams(max_new_tokens=1)
        self.rescues = 0

    def serve(self, prompt: array[int], answer: int) -> Served:
        """One request from its arrival to its end.  `answer`: tokens that get KV."""
        length = len(prompt)
        if not self.memory.fits(-(-(length + answer) // self.page) + 1, STATES_OF_ONE):
            return Served(0, False)
        req = Req("request", "", prompt, self._params)
        req.init_next_round_input(self.cache)
        usable = req.prefix_len
        req.lock = self.cache.lock(req.last_node)
        for stop in self._stops(length, usable, req.mamba_branching_seqlen):
            self._extend(req, stop)
        self._allocate(req, length + answer)
        req.kv.kv_committed_len = req.kv.kv_allocated_len
        req.finished_reason = FINISH_LENGTH(length=answer)
        release_kv_cache(req, self.cache, checkpoint=True)
        return Served(usable, True)

    def sizes(self) -> tuple[int, int]:
        """Tokens of KV and states that are cached."""
        cache = self.cache
        return (
            cache.full_evictable_size() + cache.full_protected_size(),
            cache.mamba_evictable_size() + cache.mamba_protected_size(),
        )

    def _stops(self, length: int, usable: int, branch: int | None) -> Iterator[int]:
        """Where chunks end.  `PrefillAdder._select_prefill_admission`: whole pages of the
        chunk's size until the rest fits."""
        at = usable
        if length - at <= self.chunk and (stop := self.plan.first_stop(length, at, branch)):
            yield at + stop
        while length - at > self.chunk:
            at = (at + self.chunk) // self.page * self.page
            yield at
        yield length

    def _extend(self, req: Req, stop: int) -> None:
        """One chunk of the prefill, up to depth `stop`."""
        start = req.prefix_len
        if not req.kv.holds_kv:
            ensure_mamba_capacity(self.rows, [req], self.cache)
            # Read before the row is bound, as `alloc_for_extend` does.
            prefix = self.cache.prefix_device_indices(req) if start else None
            assert self.rows.alloc([req]) is not None
            if prefix is not None:
                self.rows.write((req.kv.req_pool_idx, slice(0, start)), prefix)
            req.kv.kv_allocated_len = start
        req.extend_end = stop
        self._allocate(req, stop)
        ScheduleBatch._mamba_radix_cache_v2_req_prepare_for_extend(self._batch, req)
        req.kv.kv_committed_len = stop
        checkpoint_kv_cache(req, self.cache)

    def _allocate(self, req: Req, stop: int) -> None:
        """Pages up to depth `stop`; evicts for one more, as SGLang's estimate does."""
        pages = -(-req.kv.kv_allocated_len // self.page)
        need = -(-stop // self.page) - pages
        if need > 0:
            tokens = need * self.page
            evict_from_tree_cache(self.cache, tokens + self.page)
            ids = self.tokens.alloc(tokens)
            while ids is None:
                self.rescues += 1
                done = self.cache.evict(EvictParams(mamba_num=1))
                assert done.mamba_num_evicted, "nothing is left to evict"
                ids = self.tokens.alloc(tokens)
            first = pages * self.page
            self.rows.write((req.kv.req_pool_idx, slice(first, first + tokens)), ids)
        req.kv.kv_allocated_len = stop


def _rows(longest: int) -> HybridReqToTokenPool:
    """SGLang's request pool over states of a few bytes, which nothing here reads."""
    shape = Mamba2StateShape.create(
        tp_world_size=1,
        intermediate_size=8,
        n_groups=1,
        num_heads=1,
        head_dim=8,
        state_size=8,
        conv_kernel=4,
    )
    return HybridReqToTokenPool(
        size=1,
        mamba_size=1,
        mamba_spec_state_size=1,
        max_context_len=longest,
        device="cpu",
        enable_memory_saver=False,
        cache_params=Mamba2CacheParams(shape=shape, layers=[0]),
        mamba_layer_ids=[0],
        enable_mamba_extra_buffer=True,
    )


def token_array(tokens: bytes) -> array[int]:
    """A key's tokens as SGLang has them."""
    made: array[int] = array("q")
    made.frombytes(tokens)
    return made


torch.set_num_threads(1)
