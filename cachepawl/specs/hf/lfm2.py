"""LFM2 and LFM2-MoE: gated short convolutions with attention in some layers."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import FULL, STATE, attention, experts, one_mixer_each
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.model import Mixer, ModelSpec
from cachepawl.specs.shortconv import ShortConv

KINDS = {"conv": STATE, "short_conv": STATE, "full_attention": FULL, "attention": FULL}


def read_lfm2(f: Fields, name: str) -> ModelSpec:
    """Layer kinds from `layer_types`, else attention at `full_attn_idxs`."""
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    attend = attention(f, hidden, derived=("head_dim",))
    conv = ShortConv(hidden, f.positive("conv_L_cache"))
    mixers: dict[str, tuple[Mixer, int]] = {
        FULL: (attend, weights.attention(hidden, attend)),
        STATE: (conv, weights.short_conv(hidden)),
    }
    layers = one_mixer_each(mixers, _kinds(f, count), _mlps(f, hidden, count))
    return ModelSpec(name, hidden, layers, f.dtypes())


def _kinds(f: Fields, layers: int) -> list[str]:
    if f.has("layer_types"):
        return f.words("layer_types", KINDS, layers)
    if not f.has("full_attn_idxs"):
        f.refuse("layer_types", f"give a list of {', '.join(KINDS)} (or full_attn_idxs)")
    full = f.indices("full_attn_idxs", layers)
    return [FULL if index in full else STATE for index in range(layers)]


def _mlps(f: Fields, hidden: int, layers: int) -> list[int]:
    """Dense in the first `num_dense_layers`, experts after; dense throughout without experts."""
    if not f.has("moe_intermediate_size"):
        return [weights.mlp(hidden, _width(f))] * layers
    dense = weights.mlp(hidden, f.positive("intermediate_size"))
    sparse = experts(
        hidden,
        f.positive("num_experts"),
        f.positive("num_experts_per_tok"),
        f.positive("moe_intermediate_size"),
    )
    first = f.count("num_dense_layers")
    return [dense if index < first else sparse for index in range(layers)]


def _width(f: Fields) -> int:
    """The dense MLP's width: two thirds of what is stated, rounded up, unless switched off."""
    stated = f.positive("block_ff_dim", "intermediate_size")
    if not f.flag("block_auto_adjust_ff_dim", True):
        return stated
    scaled = int(f.ratio("block_ffn_dim_multiplier", 1) * int(2 * stated / 3))
    unit = f.positive("block_multiple_of", default=256)
    return -(-scaled // unit) * unit
