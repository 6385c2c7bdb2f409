"""SGLang 0.5.23's `UnifiedRadixCache` with its host cache, as its scheduler drives them.

As `benchmarks.policy.sglang_server`, over SGLang's own pools and allocators, and with the steps
of a host cache, in the order of `PrefillAdder.add_one_req` and `Scheduler.get_next_batch_to_run`:

    check_hicache_events
    match -> lock both -> init_load_back -> lock -> ready_to_load_host_cache -> prefill -> release

Valid inside `context()` and `host_copies.on_a_cpu()`.
"""

from __future__ import annotations

import atexit
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

import torch
from sglang.srt.configs.mamba_utils import Mamba2CacheParams, Mamba2StateShape
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req
from sglang.srt.mem_cache.allocator import PagedTokenToKVPoolAllocator
from sglang.srt.mem_cache.base_prefix_cache import InitLoadBackParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.common import release_kv_cache
from sglang.srt.mem_cache.memory_pool import HybridLinearKVPool, HybridReqToTokenPool
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType
from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.sampling.sampling_params import SamplingParams
from sglang.srt.server_args import ServerArgs

from benchmarks.host import model
from benchmarks.policy.pools import split_at
from benchmarks.policy.sglang_server import STATES_OF_ONE, SglangServer
from cachepawl.snapshots import SnapshotPlan

DEFAULT_RATIO = 0.9


class Served(NamedTuple):
    """What came of one request; tokens."""

    usable: int
    from_host: int
    """Of the usable ones."""
    fits: bool


def arguments(host_times: float, policy: str = "write_through") -> ServerArgs:
    """A server's, with a host cache of so many times the device's pools; 0 for none."""
    args = ServerArgs(
        model_path="none",
        device="cpu",
        page_size=model.PAGE,
        enable_hierarchical_cache=host_times > 0,
        hicache_ratio=host_times or 2.0,
        hicache_write_policy=policy,
        hicache_io_backend="direct",
        hicache_mem_layout="page_first_direct",
    )
    args._mamba_cache_chunk_size = model.GRID
    return args


@contextmanager
def context(args: ServerArgs) -> Iterator[None]:
    """SGLang's process-wide configuration, put back afterwards."""
    with (
        use_context(create_context(args, role="tokenizer")),
        # Put back after an error, too, which SGLang's own way to override it is not.
        patch.dict(os.environ, {"SGLANG_MAMBA_CONV_DTYPE": "float32"}),
    ):
        yield


class HiCacheServer(SglangServer):
    """One cache with its host.  `budget`: the device's bytes, split as SGLang splits them."""

    def __init__(self, args: ServerArgs, budget: int, *, chunk: int, longest: int) -> None:
        shapes = model.shapes(budget)
        self.memory = split_at(DEFAULT_RATIO, shapes.page_bytes, shapes.state_bytes, budget)
        self.grid, self.chunk, self.per_id, self.page = model.GRID, chunk, 1, model.PAGE
        self.plan = SnapshotPlan(model.GRID, enabled=False)
        self.rows = _rows(self.memory.most_states, longest + model.PAGE)
        kv = HybridLinearKVPool(
            size=self.memory.most_pages * model.PAGE,
            dtype=torch.float16,
            page_size=model.PAGE,
            head_num=model.HEADS,
            head_dim=model.HEAD_DIM,
            full_attention_layer_ids=list(model.ATTENTION),
            device="cpu",
            enable_memory_saver=False,
            mamba_pool=self.rows.mamba_pool,
        )
        self.ids = PagedTokenToKVPoolAllocator(
            self.memory.most_pages * model.PAGE, model.PAGE, torch.float16, "cpu", kv, False
        )
        params = CacheInitParams(
            disable=False,
            req_to_token_pool=self.rows,
            token_to_kv_pool_allocator=self.ids,
            page_size=model.PAGE,
            tree_components=(ComponentType.FULL, ComponentType.MAMBA),
            enable_mamba_extra_buffer=True,
        )
        self.cache = UnifiedRadixCache(params)
        self.has_host = args.enable_hierarchical_cache
        if self.has_host:
            self.cache.init_hicache(args, params)
            atexit.unregister(self.cache.shutdown)
        self._batch = self._batch_of(model.GRID)
        self._params = SamplingParams(max_new_tokens=1)
        self.rescues = 0
        self.loads = 0

    def serve_both(self, prompt: array[int], answer: int) -> Served:
        """One request from its arrival to its end."""
        cache, whole = self.cache, len(prompt) + answer
        if not self.memory.fits(-(-whole // self.page) + 1, STATES_OF_ONE):
            return Served(0, 0, False)
        self._poll()
        req = Req("request", "", prompt, self._params)
        req.init_next_round_input(cache)
        device = req.prefix_len
        if req.needs_host_load_back():
            self._load_back(req)
        usable = req.prefix_len
        req.lock = cache.lock(req.last_node)
        if self.has_host:
            cache.ready_to_load_host_cache()
        for stop in self._stops(len(prompt), usable, req.mamba_branching_seqlen):
            self._extend(req, stop)
            self._poll()
        self._allocate(req, whole)
        req.kv.kv_committed_len = req.kv.kv_allocated_len
        req.finished_reason = FINISH_LENGTH(length=answer)
        release_kv_cache(req, cache, checkpoint=True)
        self._poll()
        return Served(usable, usable - device, True)

    def _poll(self) -> None:
        """`Scheduler._process_hicache_events`, which submits what is to be written first."""
        if self.has_host:
            self.cache.check_hicache_events()

    def _load_back(self, req: Req) -> None:
        """`PrefillAdder.add_one_req`, the part about the host."""
        cache = self.cache
        held = cache.inc_host_lock_ref(req.best_match_node).to_dec_params()
        lock = cache.lock(req.best_match_node)
        loaded = cache.init_load_back(InitLoadBackParams(req.best_match_node, req.host_hit_length,
                                                         req=req))  # fmt: skip
        cache.unlock(lock)
        cache.dec_host_lock_ref(req.best_match_node, held)
        assert loaded is not None
        req.host_loaded_length, req.last_node = loaded
        self.loads += req.host_loaded_length > 0
        req.prefix_len += req.host_loaded_length
        req.kv.cache_protected_len = req.prefix_len


def _rows(states: int, longest: int) -> HybridReqToTokenPool:
    """SGLang's request pool over real states."""
    shape = Mamba2StateShape.create(
        tp_world_size=1,
        intermediate_size=model.STATE_HEADS * model.STATE_DIM,
        n_groups=1,
        num_heads=model.STATE_HEADS,
        head_dim=model.STATE_DIM,
        state_size=model.STATE_DIM,
        conv_kernel=model.CONV,
    )
    return HybridReqToTokenPool(
        size=2,
        mamba_size=states,
        mamba_spec_state_size=2,
        max_context_len=longest,
        device="cpu",
        enable_memory_saver=False,
        cache_params=Mamba2CacheParams(shape=shape, layers=list(model.LINEAR)),
        mamba_layer_ids=list(model.LINEAR),
        enable_mamba_extra_buffer=True,
    )
