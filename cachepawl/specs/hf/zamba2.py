"""Zamba2: Mamba-2 in every layer; in some, a shared transformer block runs before it.

The shared block reads the layer's input beside the model's first embeddings, so it is
twice as wide as the model.  Its weights are shared, its KV is not.
"""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.attention import Attention
from cachepawl.specs.hf.common import BOTH, STATE, expanded
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import LayerSpec, ModelSpec

KINDS = {"mamba": STATE, "linear_attention": STATE, "hybrid": BOTH, "m": STATE, "g": BOTH}


def read_zamba2(f: Fields, name: str) -> ModelSpec:
    """Reads both the names of transformers and those of the first checkpoints."""
    hidden = f.positive("hidden_size")
    scan = _mamba2(f, hidden)
    attend = _attention(f, hidden)
    state = LayerSpec((scan,), weights.mamba2(hidden, scan))
    cost = state.weights + _shared_block(f, hidden, attend)
    both = LayerSpec((attend, scan), cost)
    kinds = f.words("layers_block_type", KINDS, f.layers("num_hidden_layers"))
    layers = tuple(both if kind == BOTH else state for kind in kinds)
    return ModelSpec(name, hidden, layers, f.dtypes())


def _mamba2(f: Fields, hidden: int) -> Mamba2:
    inner = expanded(f, hidden, "mamba_expand", "expansion_factor")
    if f.has("mamba_headdim"):
        dim = f.positive("mamba_headdim")
        heads = f.quotient("n_mamba_heads", inner, "mamba_headdim", dim)
    else:
        heads = f.positive("n_mamba_heads")
        dim = f.quotient("mamba_headdim", inner, "n_mamba_heads", heads)
    return Mamba2(
        heads=heads,
        head_dim=dim,
        groups=f.positive("mamba_ngroups"),
        state=f.positive("mamba_d_state", "state_size"),
        kernel=f.positive("mamba_d_conv", "conv_dimension"),
    )


def _attention(f: Fields, hidden: int) -> Attention:
    heads = f.positive("num_attention_heads")
    kv_heads = f.positive("num_key_value_heads", default=heads)
    dim = f.positive_or(
        "attention_head_dim",
        f.quotient("attention_head_dim", 2 * hidden, "num_attention_heads", heads),
    )
    return Attention(heads, kv_heads, dim, dim)


def _shared_block(f: Fields, hidden: int, attend: Attention) -> int:
    """The block, its adapters, and the projection of its output into the layer."""
    rank = f.positive("adapter_rank", "lora_rank", default=128)
    inner = f.positive("intermediate_size", "ffn_hidden_size", default=4 * hidden)
    cost = weights.attention(hidden, attend, source=2 * hidden)
    if f.flag("use_shared_attention_adapter", f.flag("use_shared_attention_lora", False)):
        cost += 3 * 2 * (2 * hidden) * rank
    adapter = rank * (hidden + 2 * inner)
    return cost + weights.mlp(hidden, inner) + adapter + hidden * hidden
