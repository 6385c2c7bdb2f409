"""LFM2."""

from __future__ import annotations

from cachepawl.specs.presets.patterns import listed
from cachepawl.specs.presets.preset import Checked, Preset

_FULL_16 = (2, 5, 8, 10, 12, 14)
_FULL_30 = (2, 5, 9, 13, 17, 21, 24, 27)
_FULL_24 = (2, 6, 10, 14, 18, 21)

PRESETS = (
    Preset(
        name="LiquidAI/LFM2-350M",
        config={
            "model_type": "lfm2",
            "hidden_size": 1024,
            "block_ff_dim": 6656,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "conv_L_cache": 3,
            "full_attn_idxs": _FULL_16,
        },
        source="its config.json, as several public ports quote it",
        checked=Checked.QUOTED,
    ),
    Preset(
        name="LiquidAI/LFM2-1.2B",
        config={
            "model_type": "lfm2",
            "hidden_size": 2048,
            "block_ff_dim": 12288,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "conv_L_cache": 3,
            "full_attn_idxs": _FULL_16,
        },
        source="its config.json, as several public ports quote it",
        checked=Checked.QUOTED,
    ),
    Preset(
        name="LiquidAI/LFM2-2.6B",
        config={
            "model_type": "lfm2",
            "hidden_size": 2048,
            "intermediate_size": 10752,
            "block_auto_adjust_ff_dim": False,
            "num_hidden_layers": 30,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "conv_L_cache": 3,
            "layer_types": listed(30, _FULL_30, "full_attention", "conv"),
        },
        source="its config.json, as public tests quote it",
        checked=Checked.QUOTED,
    ),
    Preset(
        name="LiquidAI/LFM2-8B-A1B",
        config={
            "model_type": "lfm2_moe",
            "hidden_size": 2048,
            "intermediate_size": 7168,
            "moe_intermediate_size": 1792,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "conv_L_cache": 3,
            "num_experts": 32,
            "num_experts_per_tok": 4,
            "num_dense_layers": 2,
            "layer_types": listed(24, _FULL_24, "full_attention", "conv"),
        },
        source="its config.json, as public ports quote it (of the layer list, the first 8)",
        checked=Checked.QUOTED,
        unverified=("layer_types",),
    ),
)
