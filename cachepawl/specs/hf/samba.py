"""Samba, as flash-linear-attention writes it: Mamba-1 and window attention in turn."""

from __future__ import annotations

from math import ceil

from cachepawl.specs import weights
from cachepawl.specs.attention import Attention
from cachepawl.specs.hf.common import expanded
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.model import LayerSpec, ModelSpec
from cachepawl.specs.window import WindowAttention


def read_samba(f: Fields, name: str) -> ModelSpec:
    """Layers in `attn.layers` attend, over `attn.window_size` tokens or over all."""
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    attn = f.inner("attn")
    heads = attn.positive("num_heads")
    dim = attn.quotient("num_heads", hidden, "num_heads", heads)
    attend = Attention(heads, attn.positive("num_kv_heads", default=heads), dim, dim)
    seen = (
        WindowAttention(attend, attn.positive("window_size")) if attn.has("window_size") else None
    )
    scan = Mamba1(
        inner=expanded(f, hidden, "expand"),
        state=f.positive("state_size"),
        kernel=f.positive("conv_kernel"),
    )
    mlp = weights.mlp(hidden, _width(f, hidden))
    rank = f.positive_or("time_step_rank", ceil(hidden / 16))
    state = LayerSpec((scan,), weights.mamba1(hidden, scan, rank) + mlp)
    full = LayerSpec((seen or attend,), weights.attention(hidden, attend) + mlp)
    attending = attn.indices("layers", count)
    layers = tuple(full if index in attending else state for index in range(count))
    return ModelSpec(name, hidden, layers, f.dtypes())


def _width(f: Fields, hidden: int) -> int:
    """Two thirds of `hidden_ratio * hidden`, rounded up to a multiple of 256."""
    return -(-int(hidden * f.ratio("hidden_ratio", 4) * 2 / 3) // 256) * 256
