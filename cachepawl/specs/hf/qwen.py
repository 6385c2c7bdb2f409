"""Qwen3-Next and Qwen3.5: gated delta nets with gated attention every fourth layer."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.gdn import GatedDelta
from cachepawl.specs.hf.common import FULL, STATE, attention, experts, one_mixer_each
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.model import Mixer, ModelSpec

KINDS = {"linear_attention": STATE, "full_attention": FULL, "attention": FULL}


def read_qwen(f: Fields, name: str) -> ModelSpec:
    """Layer kinds from `layer_types`, else full every `full_attention_interval` layers."""
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    attend = attention(f, hidden)
    delta = GatedDelta(
        key_heads=f.positive("linear_num_key_heads"),
        value_heads=f.positive("linear_num_value_heads"),
        key_dim=f.positive("linear_key_head_dim"),
        value_dim=f.positive("linear_value_head_dim"),
        kernel=f.positive("linear_conv_kernel_dim"),
    )
    gates = 1 if f.flag("attn_output_gate", True) else 0
    mixers: dict[str, tuple[Mixer, int]] = {
        FULL: (attend, weights.attention(hidden, attend, gates=gates)),
        STATE: (delta, weights.gated_delta(hidden, delta)),
    }
    layers = one_mixer_each(mixers, _kinds(f, count), _mlps(f, hidden, count))
    return ModelSpec(name, hidden, layers, f.dtypes())


def _kinds(f: Fields, layers: int) -> list[str]:
    if f.has("layer_types"):
        return f.words("layer_types", KINDS, layers)
    interval = f.positive("full_attention_interval", default=4)
    return [STATE if (index + 1) % interval else FULL for index in range(layers)]


def _mlps(f: Fields, hidden: int, layers: int) -> list[int]:
    """Weights of every layer's MLP: experts with a gated shared one, or dense."""
    if not f.has("moe_intermediate_size"):
        return [weights.mlp(hidden, f.positive("intermediate_size"))] * layers
    sparse = experts(
        hidden,
        f.positive("num_experts"),
        f.positive("num_experts_per_tok"),
        f.positive("moe_intermediate_size"),
    )
    shared = f.count("shared_expert_intermediate_size")
    if shared:
        sparse += weights.mlp(hidden, shared) + hidden
    dense = f.indices("mlp_only_layers", layers) if f.has("mlp_only_layers") else frozenset()
    step = f.positive("decoder_sparse_step", default=1)
    return [
        weights.mlp(hidden, f.positive("intermediate_size"))
        if index in dense or (index + 1) % step
        else sparse
        for index in range(layers)
    ]
