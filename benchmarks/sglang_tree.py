"""SGLang's `UnifiedRadixCache` for KV and Mamba states, on either of its tree cores.

The cache object is SGLang's own and whole; the pools behind it are stubs that hand out
fresh ids and free in O(1), so that its figures hold no allocator (on CPU tensors SGLang's
allocators copy their whole free list at every free, which a GPU does differently).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sglang.srt.mem_cache.allocator import BaseTokenToKVPoolAllocator
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.memory_pool import HybridReqToTokenPool
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType
from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.server_args import ServerArgs

from benchmarks.clock import Timed
from benchmarks.subject import Hit, Room, Sizes, ignore
from benchmarks.workload import Batch, Tokens

CORES = {"python": "UnifiedTreeCore", "rust": "RustUnifiedTreeCore"}
STATE_CHUNK = 64
"""Tokens between places where SGLang's Mamba kernels can leave a state."""


@contextmanager
def sglang_context(page: int, state_chunk: int = STATE_CHUNK) -> Iterator[None]:
    """SGLang's process-wide configuration, without a model, put back afterwards.

    `state_chunk`: tokens between places where the model's kernels can leave a state.
    """
    args = ServerArgs(model_path="none", device="cpu", page_size=page)
    # Asked of the model otherwise, and there is none.
    args._mamba_cache_chunk_size = max(state_chunk, page)
    with use_context(create_context(args, role="tokenizer")):
        yield


class StubTokens(BaseTokenToKVPoolAllocator):
    """Fresh token ids; a free counts."""

    def __init__(self, page: int) -> None:
        super().__init__(0, page, torch.bfloat16, "cpu", None, need_sort=False)
        self.clear()

    def clear(self) -> None:
        self._next = self.page_size
        self.freed = 0

    def alloc(self, need_size: int) -> torch.Tensor:
        start = self._next
        self._next += need_size
        return torch.arange(start, self._next, dtype=torch.int64)

    def free(self, free_index: torch.Tensor) -> None:
        self.freed += free_index.numel()

    def free_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        self.freed += free_index.numel()


class StubStates:
    """Fresh state ids; a free counts."""

    def __init__(self) -> None:
        self._next = 1
        self.freed = 0

    def alloc(self, need_size: int) -> torch.Tensor:
        start = self._next
        self._next += need_size
        return torch.arange(start, self._next, dtype=torch.int64)

    def free(self, free_index: torch.Tensor) -> None:
        self.freed += free_index.numel()


class StubRows(HybridReqToTokenPool):
    """What the cache asks of a request pool: its class, and who frees states."""

    def __init__(self) -> None:
        self.mamba_allocator = StubStates()


def make_cache(
    core: str,
    page: int,
    rows: HybridReqToTokenPool,
    tokens: BaseTokenToKVPoolAllocator,
    components: tuple[ComponentType, ...] = (ComponentType.FULL, ComponentType.MAMBA),
    *,
    window: int | None = None,
) -> UnifiedRadixCache:
    """SGLang's cache over the given pools.  RuntimeError if it did not take the core asked for."""
    cache = UnifiedRadixCache(
        CacheInitParams(
            disable=False,
            req_to_token_pool=rows,
            token_to_kv_pool_allocator=tokens,
            page_size=page,
            tree_components=components,
            sliding_window_size=window,
            enable_mamba_extra_buffer=True,
            tree_core_backend=core,
        )
    )
    got = type(cache.tree_core).__name__
    if got != CORES[core]:
        raise RuntimeError(f"SGLang was asked for its {core} tree core and built {got}")
    return cache


class SglangTree:
    """One `UnifiedRadixCache`.  Valid inside `sglang_context` of its page."""

    def __init__(self, core: str, page: int) -> None:
        self.name = core
        self.page = page
        self.tokens = StubTokens(page)
        self.rows = StubRows()
        self.cache = make_cache(core, page, self.rows, self.tokens)

    # -- what is not timed ------------------------------------------------------------

    def fill(self, batch: Batch) -> None:
        for tokens in batch:
            timed = self.insert(tokens)
            timed.finish(timed.call())

    def sizes(self) -> Sizes:
        cache = self.cache
        return Sizes(
            cache.full_evictable_size() + cache.full_protected_size(),
            cache.mamba_evictable_size() + cache.mamba_protected_size(),
        )

    # -- what is timed ----------------------------------------------------------------

    def match(self, tokens: Tokens, seen: Callable[[Hit], None]) -> Timed:
        match, params = self.cache.match_prefix, MatchPrefixParams(key=RadixKey(tokens))

        def finish(found: Any) -> None:
            seen(Hit(found.device_prefix_len, found.full_kv_hit_length, found.last_device_node))

        return Timed(lambda: match(params), finish)

    def lock(self, node: Any, seen: Callable[[Any], None]) -> Timed:
        lock = self.cache.inc_lock_ref
        return Timed(lambda: lock(node), seen)

    def unlock(self, node: Any, receipt: Any) -> Timed:
        unlock, params = self.cache.dec_lock_ref, receipt.to_dec_params()
        return Timed(lambda: unlock(node, params), ignore)

    def lock_and_unlock(self, node: Any) -> Timed:
        cache = self.cache
        return Timed(
            lambda: cache.dec_lock_ref(node, cache.inc_lock_ref(node).to_dec_params()), ignore
        )

    def insert(self, tokens: Tokens) -> Timed:
        prompt = RadixKey(tokens, limit=len(tokens) - 1)
        found = self.cache.match_prefix(MatchPrefixParams(key=prompt))
        have = found.device_prefix_len
        cached = self.cache.path_device_indices(found.last_device_node)[:have]
        lock = self.cache.lock(found.last_device_node)
        state = self.rows.mamba_allocator.alloc(1)
        params = InsertParams(
            # A core may keep the array.
            key=RadixKey(array("q", tokens)),
            value=torch.cat([cached, self.tokens.alloc(len(tokens) - have)]),
            mamba_value=state,
            prev_prefix_len=have,
        )
        insert = self.cache.insert

        def finish(done: Any) -> None:
            if done.mamba_exist:
                self.rows.mamba_allocator.free(state)
            self.cache.unlock(lock)

        return Timed(lambda: insert(params), finish)

    def evict_state(self) -> Timed:
        evict, params = self.cache.evict, EvictParams(mamba_num=1)
        return Timed(lambda: evict(params), ignore)

    def evict_leaf(self) -> Timed:
        evict, params = self.cache.evict, EvictParams(num_tokens=self.page)
        return Timed(lambda: evict(params), ignore)


def python_core(page: int, room: Room) -> SglangTree:
    """The core written in Python."""
    return SglangTree("python", page)


def rust_core(page: int, room: Room) -> SglangTree:
    """The core written in Rust, SGLang's default."""
    return SglangTree("rust", page)


def why_no_rust() -> str | None:
    """Why the Rust core cannot be measured here, or None."""
    try:
        with sglang_context(1):
            rust_core(1, Room(0, 0))
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
