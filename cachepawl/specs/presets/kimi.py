"""Kimi-Linear."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_FULL = (4, 8, 12, 16, 20, 24, 27)

PRESETS = (
    Preset(
        name="moonshotai/Kimi-Linear-48B-A3B-Instruct",
        config={
            "model_type": "kimi_linear",
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 27,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "kv_lora_rank": 512,
            "q_lora_rank": None,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "num_experts": 256,
            "num_experts_per_token": 8,
            "num_shared_experts": 1,
            "moe_intermediate_size": 1024,
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "linear_attn_config": {
                "num_heads": 32,
                "head_dim": 128,
                "short_conv_kernel_size": 4,
                "full_attn_layers": _FULL,
                "kda_layers": tuple(n for n in range(1, 28) if n not in _FULL),
            },
        },
        source="its config.json, as several public ports and tests quote it; all but the layer "
        "lists are also the defaults of transformers' KimiLinearConfig",
        checked=Checked.QUOTED,
    ),
)
