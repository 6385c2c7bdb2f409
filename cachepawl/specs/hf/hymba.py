"""Hymba: attention and Mamba-1 side by side; windows in most layers; layers share KV."""

from __future__ import annotations

from dataclasses import replace

from cachepawl.specs import weights
from cachepawl.specs.attention import Attention
from cachepawl.specs.hf.common import attention, mamba1
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.model import LayerSpec, ModelSpec
from cachepawl.specs.window import WindowAttention


def read_hymba(f: Fields, name: str) -> ModelSpec:
    """Layers of a `kv_reuse_group` share the KV of its first; `global_attn_idx` see all.

    The learned meta tokens (`num_memory_tokens`), kept whole beside the window, are not
    counted.
    """
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    if f.count("num_mamba", default=1) != 1:
        f.refuse("num_mamba", "only one Mamba branch a layer is read; give 1")
    scan, scan_cost = mamba1(f, hidden)
    base = attention(f, hidden, derived=("head_dim",))
    attend = replace(
        base,
        head_dim=f.positive_or("kq_head_dim", base.head_dim),
        v_head_dim=f.positive_or("v_head_dim", base.head_dim),
    )
    full = f.indices("global_attn_idx", count)
    borrowers = {i for group in f.groups("kv_reuse_group", count) for i in group - {min(group)}}
    cost = scan_cost + weights.mlp(hidden, f.positive("intermediate_size"))
    layers = []
    for index in range(count):
        mixer = replace(attend, owns_kv=index not in borrowers)
        window = 0 if index in full else f.positive("sliding_window")
        layers.append(_layer(hidden, mixer, scan, window, cost))
    return ModelSpec(name, hidden, tuple(layers), f.dtypes())


def _layer(hidden: int, attend: Attention, scan: Mamba1, window: int, cost: int) -> LayerSpec:
    seen = WindowAttention(attend, window) if window else attend
    return LayerSpec((seen, scan), weights.attention(hidden, attend) + cost)
