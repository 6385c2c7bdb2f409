"""What several families read the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from cachepawl.specs import weights
from cachepawl.specs.attention import Attention
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.model import LayerSpec, Mixer

FULL = "full"
STATE = "state"
BOTH = "both"
MLP = "mlp"
MOE = "moe"


def attention(f: Fields, hidden: int, *, derived: tuple[str, ...] = ()) -> Attention:
    """GQA from `num_attention_heads`, `num_key_value_heads` and `head_dim`.

    Fields named in `derived` may be absent: then every query head has its own K and V,
    and heads share `hidden` evenly.  Other families have defaults of their own, which
    are not guessed.
    """
    heads = f.positive("num_attention_heads")
    own = heads if "num_key_value_heads" in derived else None
    kv_heads = f.positive("num_key_value_heads", default=own)
    if heads % kv_heads:
        f.refuse("num_key_value_heads", f"give a divisor of num_attention_heads {heads}")
    if "head_dim" in derived and not f.has("head_dim"):
        dim = f.quotient("head_dim", hidden, "num_attention_heads", heads)
    else:
        dim = f.positive("head_dim", "attention_head_dim")
    return Attention(heads, kv_heads, dim, dim)


def expanded(f: Fields, hidden: int, *names: str) -> int:
    """`expand * hidden`, as an SSM's inner width; at least 1."""
    name = next((n for n in names if f.has(n)), names[0])
    inner = int(f.ratio(name, 2) * hidden)
    if inner < 1:
        f.refuse(name, f"times hidden_size {hidden} it is below 1; give a larger {name}")
    return inner


def mamba1(f: Fields, hidden: int) -> tuple[Mamba1, int]:
    """Jamba's and Hymba's names for Mamba-1, and its weights."""
    m = Mamba1(
        inner=expanded(f, hidden, "mamba_expand"),
        state=f.positive("mamba_d_state"),
        kernel=f.positive("mamba_d_conv"),
    )
    return m, weights.mamba1(hidden, m, f.positive_or("mamba_dt_rank", ceil(hidden / 16)))


def one_mixer_each(
    mixers: Mapping[str, tuple[Mixer, int]], kinds: Sequence[str], mlps: Sequence[int]
) -> tuple[LayerSpec, ...]:
    """Layers of one mixer and one MLP: kind -> mixer and its weights, kinds and MLPs by layer."""
    layers = []
    for kind, mlp in zip(kinds, mlps, strict=True):
        mixer, cost = mixers[kind]
        layers.append(LayerSpec((mixer,), cost + mlp))
    return tuple(layers)


def experts(hidden: int, total: int, active: int, inner: int) -> int:
    """A router and the active experts, each a gated MLP."""
    return hidden * total + active * weights.mlp(hidden, inner)
