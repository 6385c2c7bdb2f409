"""Falcon-H1, Granite-4.0-H and Bamba, which name Mamba-2's fields alike."""

from __future__ import annotations

from cachepawl.specs import weights
from cachepawl.specs.hf.common import FULL, STATE, attention, expanded, experts
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import LayerSpec, ModelSpec

KINDS = {
    "mamba": STATE,
    "linear_attention": STATE,
    "attention": FULL,
    "full_attention": FULL,
}


def read_falcon_h1(f: Fields, name: str) -> ModelSpec:
    """Attention and Mamba-2 side by side in every layer."""
    hidden = f.positive("hidden_size")
    attend = attention(f, hidden, derived=("head_dim",))
    scan = _mamba2(f, f.positive("mamba_d_ssm", default=expanded(f, hidden, "mamba_expand")))
    cost = weights.attention(hidden, attend) + weights.mamba2(hidden, scan)
    cost += weights.mlp(hidden, f.positive("intermediate_size"))
    layers = (LayerSpec((attend, scan), cost),) * f.layers("num_hidden_layers")
    return ModelSpec(name, hidden, layers, f.dtypes())


def read_granite(f: Fields, name: str) -> ModelSpec:
    """A shared MLP in every layer, and experts beside it where there are any."""
    hidden = f.positive("hidden_size")
    kinds = f.words("layer_types", KINDS, f.layers("num_hidden_layers"))
    mlp = weights.mlp(hidden, f.positive("shared_intermediate_size"))
    total = f.count("num_local_experts")
    if total:
        active = f.positive("num_experts_per_tok")
        mlp += experts(hidden, total, active, f.positive("intermediate_size"))
    return _in_turn(f, name, hidden, kinds, mlp)


def read_bamba(f: Fields, name: str) -> ModelSpec:
    """Attention at `attn_layer_indices`, Mamba-2 elsewhere."""
    hidden = f.positive("hidden_size")
    count = f.layers("num_hidden_layers")
    full = f.indices("attn_layer_indices", count) if f.has("attn_layer_indices") else frozenset()
    kinds = [FULL if index in full else STATE for index in range(count)]
    return _in_turn(f, name, hidden, kinds, weights.mlp(hidden, f.positive("intermediate_size")))


def _in_turn(f: Fields, name: str, hidden: int, kinds: list[str], mlp: int) -> ModelSpec:
    attend = attention(f, hidden, derived=("head_dim",))
    layer = {FULL: LayerSpec((attend,), weights.attention(hidden, attend) + mlp)}
    if STATE in kinds:
        scan = _mamba2(f, expanded(f, hidden, "mamba_expand"))
        layer[STATE] = LayerSpec((scan,), weights.mamba2(hidden, scan) + mlp)
    return ModelSpec(name, hidden, tuple(layer[kind] for kind in kinds), f.dtypes())


def _mamba2(f: Fields, inner: int) -> Mamba2:
    heads = f.positive("mamba_n_heads")
    dim = f.quotient("mamba_d_head", inner, "mamba_n_heads", heads)
    if f.positive_or("mamba_d_head", dim) != dim:
        f.refuse("mamba_d_head", f"{heads} heads of it are not {inner} channels; give {dim}")
    return Mamba2(
        heads=heads,
        head_dim=dim,
        groups=f.positive("mamba_n_groups"),
        state=f.positive("mamba_d_state"),
        kernel=f.positive("mamba_d_conv"),
    )
