"""Kimi-Linear: Kimi delta attention with latent attention (MLA) every fourth layer."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.attention import LatentAttention
from cachepawl.specs.hf.common import experts
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.kda import KimiDelta
from cachepawl.specs.model import LayerSpec, ModelSpec


def read_kimi_linear(f: Fields, name: str) -> ModelSpec:
    """`linear_attn_config` counts layers from 1; what is not in `kda_layers` attends."""
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    linear = f.inner("linear_attn_config")
    kda = linear.indices("kda_layers", count, first=1)
    delta = KimiDelta(
        heads=linear.positive("num_heads"),
        head_dim=linear.positive("head_dim"),
        kernel=linear.positive("short_conv_kernel_size"),
    )
    rope = f.positive("qk_rope_head_dim")
    attend = LatentAttention(
        query_heads=f.positive("num_attention_heads"),
        latent=f.positive("kv_lora_rank"),
        rope=rope,
        qk_head_dim=f.positive("qk_nope_head_dim") + rope,
        v_head_dim=f.positive("v_head_dim"),
    )
    rank = f.positive("q_lora_rank") if f.has("q_lora_rank") else None
    full_cost = weights.latent_attention(hidden, attend, rank)
    delta_cost = weights.kimi_delta(hidden, delta)
    layers = []
    for index, mlp in enumerate(_mlps(f, hidden, count)):
        if index in kda:
            layers.append(LayerSpec((delta,), delta_cost + mlp))
        else:
            layers.append(LayerSpec((attend,), full_cost + mlp))
    return ModelSpec(name, hidden, tuple(layers), f.dtypes())


def _mlps(f: Fields, hidden: int, layers: int) -> list[int]:
    dense = weights.mlp(hidden, f.positive("intermediate_size"))
    if not f.has("moe_intermediate_size"):
        return [dense] * layers
    inner = f.positive("moe_intermediate_size")
    active = f.positive("num_experts_per_token", "num_experts_per_tok")
    shared = f.count("num_shared_experts", "n_shared_experts")
    sparse = experts(hidden, f.positive("num_experts"), active, inner) + shared * weights.mlp(
        hidden, inner
    )
    first = f.count("first_k_dense_replace")
    every = f.positive("moe_layer_freq", default=1)
    return [sparse if index >= first and index % every == 0 else dense for index in range(layers)]
