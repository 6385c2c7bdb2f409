"""Models with attention alone: Llama, Qwen2, Qwen3."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import attention
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.model import LayerSpec, ModelSpec

DERIVED = {"llama": ("head_dim", "num_key_value_heads"), "qwen2": ("head_dim",)}
"""What may be absent from a configuration, by `model_type`."""


def read_dense(f: Fields, name: str) -> ModelSpec:
    """The same attention and gated MLP in every layer; windows are refused."""
    if f.flag("use_sliding_window", False):
        f.refuse("use_sliding_window", "windows of this family are not read; give false")
    hidden = f.positive("hidden_size")
    attend = attention(f, hidden, derived=DERIVED.get(f.text("model_type"), ()))
    cost = weights.attention(hidden, attend)
    cost += weights.mlp(hidden, f.positive("intermediate_size"))
    layers = (LayerSpec((attend,), cost),) * f.layers("num_hidden_layers")
    return ModelSpec(name, hidden, layers, f.dtypes())
