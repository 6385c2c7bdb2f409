"""The arena's geometry as SGLang's loaded configuration gives it."""

from __future__ import annotations

from typing import Any

from sglang.srt.mem_cache.allocation_sizing import get_mamba_tracking_slots
from sglang.srt.runtime_context import get_exec, get_parallel, get_schedule

from cachepawl.pool.arena import ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape


def geometry_of(configurator: Any) -> Geometry:
    """Shapes of this rank's share of the model, without a number of frames yet."""
    parallel, model = get_parallel(), configurator.model_config
    head_dim = model.head_dim
    kv = KvShape(
        layers=_attention_layers(configurator),
        heads=model.get_num_kv_heads(parallel.attn_tp_size, parallel.attn_dcp_size),
        head_dim=head_dim,
        v_head_dim=head_dim if configurator.mambaish_config is not None else model.v_head_dim,
        itemsize=configurator.kv_cache_dtype.itemsize,
    )
    return Geometry(kv, _state_shape(configurator), configurator.page_size)


def _attention_layers(configurator: Any) -> int:
    info, hybrid = configurator.layer_info, configurator.mambaish_config
    if hybrid is None:
        return int(info.num_effective_layers)
    ids = hybrid.full_attention_layer_ids
    return sum(info.start_layer <= i < info.end_layer for i in ids)


def _state_shape(configurator: Any) -> StateShape | None:
    info, hybrid = configurator.layer_info, configurator.mambaish_config
    if hybrid is None:
        return None
    params = hybrid.mamba2_cache_params
    return StateShape(
        layers=sum(info.start_layer <= i < info.end_layer for i in params.layers),
        conv_shapes=tuple(tuple(int(n) for n in shape) for shape in params.shape.conv),
        conv_itemsize=params.dtype.conv.itemsize,
        temporal_shape=tuple(int(n) for n in params.shape.temporal),
        temporal_itemsize=params.dtype.temporal.itemsize,
    )


def dtypes_of(configurator: Any) -> ArenaDtypes:
    """Element types of the arena's views."""
    hybrid = configurator.mambaish_config
    if hybrid is None:
        return ArenaDtypes(configurator.kv_cache_dtype)
    types = hybrid.mamba2_cache_params.dtype
    return ArenaDtypes(configurator.kv_cache_dtype, types.conv, types.temporal)


def states_per_request() -> int:
    """Slots that a running request takes: an active one and the tracking slots."""
    mamba = get_exec().mamba
    return 1 + get_mamba_tracking_slots(
        extra_buffer=mamba.enable_mamba_extra_buffer,
        overlap=not get_schedule().disable_overlap_schedule,
        lazy=mamba.enable_mamba_extra_buffer_lazy,
    )
