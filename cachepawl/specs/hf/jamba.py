"""Jamba: Mamba-1 with attention every few layers, experts in every other MLP."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import attention, experts, mamba1
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.model import LayerSpec, ModelSpec


def read_jamba(f: Fields, name: str) -> ModelSpec:
    """A layer attends where `index % attn_layer_period == attn_layer_offset`."""
    hidden = f.positive("hidden_size")
    inner = f.positive("intermediate_size")
    attend = attention(f, hidden, derived=("head_dim",))
    scan, scan_cost = mamba1(f, hidden)
    total = f.positive("num_experts")
    dense = weights.mlp(hidden, inner)
    sparse = experts(hidden, total, f.positive("num_experts_per_tok"), inner)
    layers = []
    for index in range(f.layers("num_hidden_layers")):
        attends = _hits(f, "attn_layer", index)
        cost = weights.attention(hidden, attend) if attends else scan_cost
        cost += sparse if total > 1 and _hits(f, "expert_layer", index) else dense
        layers.append(LayerSpec((attend,) if attends else (scan,), cost))
    return ModelSpec(name, hidden, tuple(layers), f.dtypes())


def _hits(f: Fields, what: str, index: int) -> bool:
    return index % f.positive(f"{what}_period") == f.count(f"{what}_offset")
