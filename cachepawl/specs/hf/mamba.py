"""Mamba-1, Falcon-Mamba and Mamba-2: `model_type` mamba, falcon_mamba, mamba2."""

from __future__ import annotations

from math import ceil

from cachepawl.specs import weights
from cachepawl.specs.hf.common import expanded
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import LayerSpec, ModelSpec


def read_mamba1(f: Fields, name: str) -> ModelSpec:
    """`intermediate_size` counts; Falcon-Mamba's `expand` contradicts it."""
    hidden = f.positive("hidden_size")
    m = Mamba1(
        inner=f.positive("intermediate_size", default=expanded(f, hidden, "expand")),
        state=f.positive("state_size"),
        kernel=f.positive("conv_kernel"),
    )
    cost = weights.mamba1(hidden, m, f.positive_or("time_step_rank", ceil(hidden / 16)))
    layers = (LayerSpec((m,), cost),) * f.layers("num_hidden_layers")
    return ModelSpec(name, hidden, layers, f.dtypes())


def read_mamba2(f: Fields, name: str) -> ModelSpec:
    """A stack of Mamba-2 layers without MLPs."""
    hidden = f.positive("hidden_size")
    m = Mamba2(
        heads=f.positive("num_heads"),
        head_dim=f.positive("head_dim"),
        groups=f.positive("n_groups"),
        state=f.positive("state_size"),
        kernel=f.positive("conv_kernel"),
    )
    layers = (LayerSpec((m,), weights.mamba2(hidden, m)),) * f.layers("num_hidden_layers")
    return ModelSpec(name, hidden, layers, f.dtypes())
