"""Jamba."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_CONFIG = {
    "model_type": "jamba",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_dt_rank": 256,
}

PRESETS = (
    Preset(
        name="ai21labs/Jamba-v0.1",
        config=_CONFIG,
        source="defaults of transformers' JambaConfig, which are this model's; the same in a "
        "copy of its config.json (Severian/Jamba-Hercules)",
        checked=Checked.INSTALLED,
    ),
    Preset(
        name="ai21labs/AI21-Jamba-1.5-Mini",
        config=_CONFIG,
        source="as Jamba-v0.1, whose architecture it shares (arXiv:2408.12570)",
        checked=Checked.QUOTED,
        # Its own config.json was not found: that it equals v0.1's is from the paper, by memory.
        unverified=tuple(_CONFIG),
    ),
)
