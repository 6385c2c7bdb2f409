"""Nemotron-H and Nemotron-3: every layer is one thing: Mamba-2, attention, MLP or experts."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import FULL, MLP, MOE, STATE, attention
from cachepawl.specs.hf.fields import MAX_LAYERS, Fields
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import LayerSpec, ModelSpec

LETTERS = {"M": STATE, "*": FULL, "-": MLP, "E": MOE}
WORDS = {
    "mamba": STATE,
    "linear_attention": STATE,
    "attention": FULL,
    "full_attention": FULL,
    "mlp": MLP,
    "moe": MOE,
}


def read_nemotron_h(f: Fields, name: str) -> ModelSpec:
    """Layer kinds from `layers_block_type` or the letters of `hybrid_override_pattern`."""
    hidden = f.positive("hidden_size")
    kinds = _kinds(f)
    cache: dict[str, LayerSpec] = {}
    for kind in kinds:
        if kind not in cache:
            cache[kind] = _layer(f, kind, hidden)
    return ModelSpec(name, hidden, tuple(cache[kind] for kind in kinds), f.dtypes())


def _kinds(f: Fields) -> list[str]:
    if f.has("layers_block_type"):
        return f.words("layers_block_type", WORDS)
    pattern = f.text("hybrid_override_pattern")
    if not 0 < len(pattern) <= MAX_LAYERS or set(pattern) - set(LETTERS):
        f.refuse(
            "hybrid_override_pattern",
            f"give 1 to {MAX_LAYERS} of the letters {' '.join(LETTERS)}",
        )
    return [LETTERS[letter] for letter in pattern]


def _layer(f: Fields, kind: str, hidden: int) -> LayerSpec:
    if kind == FULL:
        attend = attention(f, hidden)
        return LayerSpec((attend,), weights.attention(hidden, attend))
    if kind == STATE:
        scan = Mamba2(
            heads=f.positive("mamba_num_heads"),
            head_dim=f.positive("mamba_head_dim"),
            groups=f.positive("mamba_n_groups", "n_groups", "mamba_num_groups"),
            state=f.positive("ssm_state_size"),
            kernel=f.positive("mamba_d_conv", "conv_kernel"),
        )
        return LayerSpec((scan,), weights.mamba2(hidden, scan))
    if kind == MLP:
        return LayerSpec((), weights.plain_mlp(hidden, f.positive("intermediate_size")))
    return LayerSpec((), _experts(f, hidden))


def _experts(f: Fields, hidden: int) -> int:
    """Router, active experts (in a latent width where one is given), shared expert."""
    width = f.positive("moe_latent_size", default=hidden)
    active = f.positive("num_experts_per_tok")
    cost = hidden * f.positive("n_routed_experts")
    cost += active * weights.plain_mlp(width, f.positive("moe_intermediate_size"))
    if f.has("moe_latent_size"):
        cost += 2 * hidden * width
    if f.count("n_shared_experts", default=1):
        cost += weights.plain_mlp(hidden, f.positive("moe_shared_expert_intermediate_size"))
    return cost
