"""SGLang's own unified pool under the verbs of `Ends`, on the CPU, in pools of a few KiB.

The server's factory builds it: tables, compaction and copies of bytes are the real ones.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.configs.mamba_utils import Mamba2CacheParams, Mamba2StateDType, Mamba2StateShape
from sglang.srt.mem_cache.unified_memory_pool import init_unified_mamba_pools

from benchmarks.capacity.ends import End, Ends
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

SHAPE = Mamba2StateShape.create(
    tp_world_size=1, intermediate_size=16, n_groups=1, num_heads=2, head_dim=8, state_size=4,
    conv_kernel=4,
)  # fmt: skip
DTYPES = Mamba2StateDType(conv=torch.bfloat16, temporal=torch.float32)


def small(page: int) -> Geometry:
    """The geometry of the pools here: entries of 32 bytes, states of 400."""
    state = StateShape(1, tuple(map(tuple, SHAPE.conv)), 2, SHAPE.temporal, 4)
    return Geometry(KvShape(1, 1, 8, 8, 2), state, page)


def unified_pool(page: int, budget: int) -> Any:
    """The allocator of both ends, as `--enable-unified-memory` has it."""
    params = Mamba2CacheParams(shape=SHAPE, layers=[0], dtype=DTYPES)
    return init_unified_mamba_pools(
        device="cpu", kv_cache_dtype=torch.bfloat16, head_num=1, head_dim=8, page_size=page,
        start_layer=0, end_layer=1, is_draft_worker=False, use_mla_backend=False,
        mamba_layer_ids=[0], full_attention_layer_ids=[1], mamba2_cache_params=params,
        model_context_len=16, extra_max_context_len=0, max_total_num_tokens=1,
        max_mamba_cache_size=0, max_num_reqs=4, enable_memory_saver=False,
        enable_mamba_extra_buffer=True, enable_mamba_extra_buffer_lazy=False,
        speculative_num_draft_tokens=None, disable_overlap_schedule=False, need_sort=False,
        lazy_compaction=True, unified_total_bytes=budget,
    ).token_to_kv_pool_allocator  # fmt: skip


class SglangEnds(Ends):
    """SGLang's pool; `kv` and `states` only name its ends.  Valid inside `sglang_context`."""

    packs_early = False
    """Pack before every step, as an idle server does, and not only under pressure."""

    def __init__(self, geometry: Geometry, budget: int) -> None:
        self.pool = unified_pool(geometry.page_tokens, budget)
        kv, states = self.pool.full_attn_allocator, self.pool.mamba_allocator
        top, low = kv.num_pages, states.min_page_index
        super().__init__(geometry, budget)
        self.budget = top * kv.entry_bytes_per_page - low * states.entry_bytes_per_page
        self.allocators = {self.kv: kv, self.states: states}
        self._decodes = False

    def free_bytes(self) -> int:
        live = (a.live_page_count * a.entry_bytes_per_page for a in self.allocators.values())
        return self.budget - sum(live)

    def room(self, end: End, *, packing: bool = True) -> int:
        """How many more it says it has, after packing the other end or as things are."""
        allocator = self.allocators[end]
        name = "schedulable_available_size" if packing else "available_size"
        return getattr(allocator, name)() // allocator.page_size

    def fits(self, end: End, count: int) -> bool:
        return count <= self.room(end)

    def take(self, end: End, count: int) -> list[int]:
        """Virtual pages."""
        allocator = self.allocators[end]
        if self.packs_early:
            self.pool.flush_opportunistic()
        before = self._moved()
        pages = allocator.free_virtual_ids[:count].tolist()
        if self._allocate(allocator, count) is None:
            raise AssertionError(f"no room for {count}: {allocator.allocator_state_str()}")
        self.bytes_moved = self._moved()
        self.worst_burst_bytes = max(self.worst_burst_bytes, self.bytes_moved - before)
        return pages

    def _allocate(self, allocator: Any, count: int) -> torch.Tensor | None:
        """By the calls of a decode step and of a prompt in turn, where pages are of many tokens."""
        page = allocator.page_size
        if page == 1:
            return allocator.alloc(count)
        self._decodes = not self._decodes
        last = torch.zeros(count, dtype=torch.int64)
        if self._decodes:
            return self.pool.alloc_decode(last + 1, last + 1, last)
        whole = torch.tensor([count * page])
        return self.pool.alloc_extend(last[:1], last[:1], whole, whole, last[:1], count * page)

    def _moved(self) -> int:
        each = self.allocators.values()
        return sum(a._stats_n_flush_moves * a.entry_bytes_per_page for a in each)

    def give(self, end: End, ids: list[int]) -> None:
        page = self.allocators[end].page_size
        first = torch.tensor(ids, dtype=torch.int64).reshape(-1, 1) * page
        tokens = (first + torch.arange(page)).reshape(-1)
        if end is self.kv:
            self.pool.free_segment(tokens, start_pos=0)
        else:
            self.allocators[end].free(tokens)

    def places(self, end: End, physical: torch.Tensor) -> list[int]:
        """Physical pages as places counted from the end."""
        allocator = self.allocators[end]
        if end is self.kv:
            return (allocator.num_pages - 1 - physical).tolist()
        return (physical - allocator.min_page_index).tolist()

    def places_of(self, end: End, ids: list[int]) -> list[int]:
        return self.places(end, self.allocators[end].virtual_to_physical[ids])

    def holes(self, end: End) -> list[int]:
        return self.places(end, self.allocators[end]._free_phys_pages)

    def frontier(self, end: End) -> int:
        return self.allocators[end]._allocated_pages()
