"""The arena's geometry as SGLang's configuration of the model gives it."""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.mem_cache.allocation_sizing import get_mamba_tracking_slots
from sglang.srt.runtime_context import get_exec, get_parallel, get_schedule

from cachepawl.pool.arena import ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape


def geometry_of(
    model: Any, hybrid: Any, kv_dtype: torch.dtype, page_tokens: int, layers: range
) -> Geometry:
    """Shapes of this rank's share of a model, without a number of frames yet.

    `model` is SGLang's ModelConfig, `hybrid` its configuration of SSM layers or None,
    `layers` the layers of this pipeline stage.  Reads SGLang's parallel context.
    """
    parallel = get_parallel()
    attention = len(layers)
    if hybrid is not None:
        attention = sum(i in layers for i in hybrid.full_attention_layer_ids)
    kv = KvShape(
        layers=attention,
        heads=model.get_num_kv_heads(parallel.attn_tp_size, parallel.attn_dcp_size),
        head_dim=model.head_dim,
        v_head_dim=model.v_head_dim if hybrid is None else model.head_dim,
        itemsize=kv_dtype.itemsize,
    )
    return Geometry(kv, _state_shape(hybrid, layers), page_tokens)


def _state_shape(hybrid: Any, layers: range) -> StateShape | None:
    if hybrid is None:
        return None
    params = hybrid.mamba2_cache_params
    return StateShape(
        layers=sum(i in layers for i in params.layers),
        conv_shapes=tuple(tuple(int(n) for n in shape) for shape in params.shape.conv),
        conv_itemsize=params.dtype.conv.itemsize,
        temporal_shape=tuple(int(n) for n in params.shape.temporal),
        temporal_itemsize=params.dtype.temporal.itemsize,
    )


def geometry_of_configurator(configurator: Any) -> Geometry:
    """As `geometry_of`, from the object that sizes SGLang's pools."""
    info = configurator.layer_info
    return geometry_of(
        configurator.model_config,
        configurator.mambaish_config,
        configurator.kv_cache_dtype,
        configurator.page_size,
        range(info.start_layer, info.end_layer),
    )


def dtypes_of(configurator: Any) -> ArenaDtypes:
    """Element types of the arena's views."""
    hybrid = configurator.mambaish_config
    if hybrid is None:
        return ArenaDtypes(configurator.kv_cache_dtype)
    types = hybrid.mamba2_cache_params.dtype
    return ArenaDtypes(configurator.kv_cache_dtype, types.conv, types.temporal)


def states_per_request() -> int:
    """Slots that a running request of a hybrid model takes: one active, and tracking slots."""
    mamba = get_exec().mamba
    return 1 + int(
        get_mamba_tracking_slots(
            extra_buffer=mamba.enable_mamba_extra_buffer,
            overlap=not get_schedule().disable_overlap_schedule,
            lazy=mamba.enable_mamba_extra_buffer_lazy,
        )
    )
