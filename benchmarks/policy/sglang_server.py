"""SGLang 0.5.23's cache as its scheduler drives it, one request at a time.

Its own code, called in its scheduler's order: `Req.init_next_round_input` (match, copy of the
state), `lock`, then for each chunk `ensure_mamba_capacity` and `HybridReqToTokenPool.alloc`,
`evict_from_tree_cache`, `ScheduleBatch._mamba_radix_cache_v2_req_prepare_for_extend` (where the
snapshot is taken, branch points included) and `checkpoint_kv_cache`; at the end
`release_kv_cache`.  Ours are the memory (`pools`), the length of chunks, and the decode, which
here is pages alone.

With `per_id` above 1 the tree's keys have one id for so many tokens, all of a page, and its pages
are so much smaller: a page that is one id.  The same things happen, and copying keys, which is
most of the work, takes a fraction (`tests/bench/test_policy.py` compares both).

What would crash or hang the server is done as well as it can be instead, and counted:
`rescues` are evictions of states because KV found no bytes and no leaf was left.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
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
from benchmarks.sglang_tree import make_cache, sglang_context
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
    """One cache.  Valid inside `context()`.  Lengths are tokens unless they say ids."""

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
        per_id: int = 1,
    ) -> None:
        """`longest`: tokens of the longest request, answer included.

        `snapshots`: where chunks end, so where states are: as SGLang has it, or where
        cachepawl's server ends them.  `per_id` divides all of the others.
        """
        self.memory, self.grid, self.chunk, self.per_id = memory, grid, chunk, per_id
        self.page = page // per_id
        """In ids, as what follows."""
        self.plan = SnapshotPlan(grid, enabled=snapshots == "ours")
        self.rows = _rows(-(-longest // per_id) + self.page)
        self.rows.mamba_allocator = StateIds(memory)
        self.ids = TokenIds(memory, self.page)
        self.cache = make_cache(core, self.page, self.rows, self.ids)
        self._batch = self._batch_of(grid // per_id)
        self._params = SamplingParams(max_new_tokens=1)
        self.rescues = 0

    def _batch_of(self, grid: int) -> SimpleNamespace:
        """All that is read of `self` by the method that plans snapshots, every `grid` ids."""
        text = SimpleNamespace(mamba_chunk_size=grid)
        return SimpleNamespace(
            model_config=SimpleNamespace(hf_text_config=text),
            tree_cache=self.cache,
            req_to_token_pool=self.rows,
        )

    def serve(self, prompt: array[int], tokens: int, answer: int) -> Served:
        """One request from its arrival to its end.

        `prompt`: its ids, the last of which may stand for fewer than `per_id` of its `tokens`.
        `answer`: tokens that get KV.
        """
        whole = -(-(tokens + answer) // self.per_id)
        if not self.memory.fits(-(-whole // self.page) + 1, STATES_OF_ONE):
            return Served(0, False)
        req = Req("request", "", prompt, self._params)
        req.init_next_round_input(self.cache)
        usable = req.prefix_len * self.per_id
        req.lock = self.cache.lock(req.last_node)
        branch = req.mamba_branching_seqlen
        for stop in self._stops(tokens, usable, branch and branch * self.per_id):
            self._extend(req, stop)
        self._allocate(req, whole)
        req.kv.kv_committed_len = req.kv.kv_allocated_len
        req.finished_reason = FINISH_LENGTH(length=answer)
        release_kv_cache(req, self.cache, checkpoint=True)
        return Served(usable, True)

    def sizes(self) -> tuple[int, int]:
        """Tokens of KV and states that are cached."""
        cache = self.cache
        return (
            (cache.full_evictable_size() + cache.full_protected_size()) * self.per_id,
            cache.mamba_evictable_size() + cache.mamba_protected_size(),
        )

    def _stops(self, length: int, usable: int, branch: int | None) -> Iterator[int]:
        """Where chunks end.  `PrefillAdder._select_prefill_admission`: whole pages of the
        chunk's size until the rest fits; the size is a number of whole pages."""
        at = usable
        if length - at <= self.chunk and (stop := self.plan.first_stop(length, at, branch)):
            yield at + stop
        while length - at > self.chunk:
            at += self.chunk
            yield at
        yield length

    def _extend(self, req: Req, stop: int) -> None:
        """One chunk of the prefill, up to depth `stop` in tokens."""
        start = req.prefix_len
        # Part of an id is never published: it only takes room.
        end = stop // self.per_id
        if not req.kv.holds_kv:
            ensure_mamba_capacity(self.rows, [req], self.cache)
            # Read before the row is bound, as `alloc_for_extend` does.
            prefix = self.cache.prefix_device_indices(req) if start else None
            assert self.rows.alloc([req]) is not None
            if prefix is not None:
                self.rows.write((req.kv.req_pool_idx, slice(0, start)), prefix)
            req.kv.kv_allocated_len = start
        req.extend_end = end
        self._allocate(req, -(-stop // self.per_id))
        ScheduleBatch._mamba_radix_cache_v2_req_prepare_for_extend(self._batch, req)
        req.kv.kv_committed_len = end
        checkpoint_kv_cache(req, self.cache)

    def _allocate(self, req: Req, stop: int) -> None:
        """Pages up to the depth of `stop` ids; evicts for one more, as SGLang's estimate does."""
        pages = -(-req.kv.kv_allocated_len // self.page)
        need = -(-stop // self.page) - pages
        if need > 0:
            size = need * self.page
            evict_from_tree_cache(self.cache, size + self.page)
            ids = self.ids.alloc(size)
            while ids is None:
                self.rescues += 1
                done = self.cache.evict(EvictParams(mamba_num=1))
                assert done.mamba_num_evicted, "nothing is left to evict"
                ids = self.ids.alloc(size)
            first = pages * self.page
            self.rows.write((req.kv.req_pool_idx, slice(first, first + size)), ids)
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


@contextmanager
def context(page: int, grid: int, per_id: int = 1) -> Iterator[None]:
    """SGLang's configuration for a server of these sizes."""
    with sglang_context(page // per_id, grid // per_id):
        yield


def ids_of(tokens: bytes, per_id: int = 1) -> array[int]:
    """A key's tokens, or of so many tokens each the first, as SGLang has them."""
    made: array[int] = array("q")
    made.frombytes(memoryview(tokens).cast("q")[::per_id].tobytes())
    return made


torch.set_num_threads(1)
