"""The original Mamba checkpoints: no `model_type`, but `d_model`, `n_layer` and `ssm_cfg`.

Defaults are those of the `Mamba` and `Mamba2` modules of state-spaces/mamba.
"""

from __future__ import annotations

from math import ceil

from cachepawl.specs import weights
from cachepawl.specs.hf.common import expanded
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import LayerSpec, ModelSpec

LAYERS = {"Mamba1": "Mamba1", "Mamba2": "Mamba2"}


def read_state_spaces(f: Fields, name: str) -> ModelSpec:
    """`ssm_cfg.layer` says which Mamba; attention layers among them are not read."""
    hidden = f.positive("d_model")
    if f.has("attn_layer_idx") and f.indices("attn_layer_idx", f.layers("n_layer")):
        f.refuse("attn_layer_idx", "a mix with attention is not read; use its -hf conversion")
    layer = _layer(f.inner("ssm_cfg"), hidden)
    return ModelSpec(name, hidden, (layer,) * f.layers("n_layer"), f.dtypes())


def _layer(f: Fields, hidden: int) -> LayerSpec:
    inner = expanded(f, hidden, "expand")
    kernel = f.positive("d_conv", default=4)
    kind = f.text("layer") if f.has("layer") else "Mamba1"
    if kind == "Mamba1":
        m = Mamba1(inner, f.positive("d_state", default=16), kernel)
        rank = f.positive_or("dt_rank", ceil(hidden / 16))
        return LayerSpec((m,), weights.mamba1(hidden, m, rank))
    if kind != "Mamba2":
        f.refuse("layer", f"give one of: {', '.join(LAYERS)}")
    head_dim = f.positive("headdim", default=64)
    m2 = Mamba2(
        heads=f.quotient("headdim", inner, "headdim", head_dim),
        head_dim=head_dim,
        groups=f.positive("ngroups", default=1),
        state=f.positive("d_state", default=128),
        kernel=kernel,
    )
    return LayerSpec((m2,), weights.mamba2(hidden, m2))
