"""RecurrentGemma (Griffin): RG-LRU layers and attention over a window."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import FULL, STATE, attention
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.model import LayerSpec, ModelSpec
from cachepawl.specs.rglru import RgLru
from cachepawl.specs.window import WindowAttention

KINDS = {"recurrent": STATE, "attention": FULL}


def read_recurrent_gemma(f: Fields, name: str) -> ModelSpec:
    """`block_types` is repeated over the layers; `intermediate_size` counts gate and up."""
    hidden = f.positive("hidden_size")
    attend = attention(f, hidden, derived=("head_dim", "num_key_value_heads"))
    heads = attend.query_heads
    width = f.positive("lru_width", default=hidden)
    f.quotient("lru_width", width, "num_attention_heads", heads)
    lru = RgLru(width, heads, f.positive("conv1d_width"))
    mlp = weights.mlp(hidden, f.positive("intermediate_size") // 2)
    window = WindowAttention(attend, f.positive("attention_window_size"))
    layer = {
        FULL: LayerSpec((window,), weights.attention(hidden, attend) + mlp),
        STATE: LayerSpec((lru,), weights.rg_lru(hidden, lru) + mlp),
    }
    kinds = f.words("block_types" if f.has("block_types") else "_block_types", KINDS)
    count = f.layers("num_hidden_layers")
    layers = tuple(layer[kinds[index % len(kinds)]] for index in range(count))
    return ModelSpec(name, hidden, layers, f.dtypes())
