"""Mamba-2, the published sizes."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_README = (
    "state-spaces/mamba: README (table of d_model and layers) and the defaults of its Mamba2 "
    "module (d_state 128, d_conv 4, expand 2, headdim 64, ngroups 1)"
)


def _original(size: str, d_model: int, n_layer: int) -> Preset:
    return Preset(
        name=f"state-spaces/mamba2-{size}",
        config={"d_model": d_model, "n_layer": n_layer, "ssm_cfg": {"layer": "Mamba2"}},
        source=_README,
        checked=Checked.QUOTED,
        # The README was not at hand: sizes as for Mamba-1, which a public port quotes.
        unverified=("d_model", "n_layer"),
    )


PRESETS = (
    _original("130m", 768, 24),
    _original("370m", 1024, 48),
    _original("780m", 1536, 48),
    _original("1.3b", 2048, 48),
    _original("2.7b", 2560, 64),
    Preset(
        name="mistralai/Mamba-Codestral-7B-v0.1",
        config={
            "model_type": "mamba2",
            "hidden_size": 4096,
            "intermediate_size": 8192,
            "num_hidden_layers": 64,
            "num_heads": 128,
            "head_dim": 64,
            "n_groups": 8,
            "state_size": 128,
            "conv_kernel": 4,
        },
        source="defaults of transformers' Mamba2Config, which are this model's, and, with "
        "intermediate_size, a copy of its config.json in NX-AI/mlstm_kernels",
        checked=Checked.INSTALLED,
    ),
)
