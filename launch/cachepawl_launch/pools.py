"""SGLang's KV and state pool classes over the arena's views."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from sglang.srt.mem_cache.memory_pool import HybridLinearKVPool, MambaPool, MHATokenToKVPool

from cachepawl.errors import ConfigError
from cachepawl.pool.arena import Arena


class ArenaMHAPool(MHATokenToKVPool):
    """K and V of the attention layers: rows of stride E over the whole arena.

    Takes the stock constructor's arguments and ignores what the arena knows better.
    """

    def __init__(self, size: int = 0, *, arena: Arena, **stock: Any) -> None:
        unserved = [name for name in ("quant_method", "post_capture_active") if stock.get(name)]
        if unserved:
            raise ConfigError(f"the arena serves plain MHA KV only, not {unserved}")
        self._arena = arena
        kv, page = arena.geometry.kv, stock["page_size"]
        # The view has size + page_size rows; SGLang's padding page is frame 0.
        stock |= {"head_num": kv.heads, "head_dim": kv.head_dim, "v_head_dim": kv.v_head_dim}
        stock |= {"enable_memory_saver": False, "enable_kv_cache_copy": False}
        super().__init__(size=arena.geometry.num_tokens - page, kv_cache_layout="nhd", **stock)

    def _create_buffers(self) -> None:
        layers = range(self.layer_num)
        self.k_buffer = [self._arena.k_view(layer) for layer in layers]
        self.v_buffer = [self._arena.v_view(layer) for layer in layers]
        self.k_scale_buffer = self.v_scale_buffer = None
        self.native_k_scale_buffer = self.native_v_scale_buffer = None
        self.dq_k_buffer = self.dq_v_buffer = None
        self._kv_buffer_descs = self._build_kv_buffer_descs()
        self._init_data_ptrs_and_strides()

    def _clear_buffers(self) -> None:
        """The arena owns the bytes."""

    def move_kv_cache(self, tgt_loc: torch.Tensor, src_loc: torch.Tensor) -> None:
        for buffer in (*self.k_buffer, *self.v_buffer):
            buffer[tgt_loc] = buffer[src_loc]

    def get_contiguous_buf_infos(self) -> Any:
        raise NotImplementedError("cachepawl's arena is not transferred between servers")


class ArenaHybridKVPool(HybridLinearKVPool):
    """The hybrid model's KV pool; its attention layers live in an `ArenaMHAPool`."""

    def __init__(self, *, arena: Arena, full_attention_layer_ids: list[int], **stock: Any) -> None:
        if stock.get("use_mla"):
            raise ConfigError("the arena serves plain MHA KV only, not MLA")
        full = ArenaMHAPool(
            arena=arena,
            page_size=stock["page_size"],
            dtype=stock["dtype"],
            layer_num=len(full_attention_layer_ids),
            device=stock["device"],
            quant_method=stock.get("quant_method"),
            post_capture_active=stock.get("post_capture_active", False),
        )
        stock |= {"size": full.size, "full_kv_pool": full}
        super().__init__(full_attention_layer_ids=full_attention_layer_ids, **stock)


class ArenaMambaPool(MambaPool):
    """Conv and temporal states: slot s is frame s of the arena."""

    def __init__(self, *, arena: Arena, corrupt_copies: bool, size: int, **stock: Any) -> None:
        if stock.get("enable_linear_replayssm") or stock.get("enable_linear_replayssm_spec"):
            raise ConfigError("ReplaySSM keeps rings for every slot outside the arena")
        # A stock pool of one slot sets every attribute; then the views replace its buffers.
        super().__init__(size=0, **stock)
        geometry = arena.geometry
        assert geometry.state is not None
        self._arena = arena
        self._corrupt_copies = corrupt_copies
        self.size = geometry.usable_frames
        one_slot: Any = self.mamba_cache
        self.mamba_cache: Any = dataclasses.replace(
            one_slot,
            conv=[arena.conv_view(part) for part in range(len(geometry.state.conv_shapes))],
            temporal=arena.temporal_view(),
        )
        # These were computed from the one-slot buffers.
        for cached in ("_conv_fuse_ok", "_conv_slot_desc"):
            self.__dict__.pop(cached, None)
        self.mem_usage = 0  # the KV pool reports the arena once

    def clear_slots(self, indices: torch.Tensor) -> None:
        self._arena.zero_states(indices.to(torch.int64))
        for sibling in self._slot_siblings:
            sibling.reset_slots(indices)

    def copy_from(self, src_indices: torch.Tensor, dst_indices: torch.Tensor) -> None:
        self._arena.copy_states(src_indices, dst_indices)
        if self._corrupt_copies:
            self._arena.zero_states(dst_indices)
        for sibling in self._slot_siblings:
            sibling.copy_slots(src_indices, dst_indices)

    def get_contiguous_buf_infos(self) -> Any:
        raise NotImplementedError("cachepawl's arena is not transferred between servers")
