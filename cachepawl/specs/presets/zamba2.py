"""Zamba2."""

from __future__ import annotations

from cachepawl.specs.presets.patterns import listed
from cachepawl.specs.presets.preset import Checked, Preset

_HYBRID_7B = (6, 11, 17, 23, 29, 35, 41, 47, 53, 59, 65, 71, 77)
_HYBRID_2_7B = (6, 12, 18, 24, 30, 36, 42, 47, 51)

PRESETS = (
    Preset(
        name="Zyphra/Zamba2-2.7B",
        config={
            "model_type": "zamba2",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 54,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "mamba_expand": 2,
            "n_mamba_heads": 80,
            "mamba_ngroups": 1,
            "mamba_d_state": 64,
            "mamba_d_conv": 4,
            "adapter_rank": 128,
            "layers_block_type": listed(54, _HYBRID_2_7B, "hybrid", "mamba"),
        },
        source="defaults of transformers' Zamba2Config, but for n_mamba_heads; heads, conv and "
        "state shapes from the cache plan of a vLLM run of Zamba2-2.7B-instruct",
        checked=Checked.INSTALLED,
    ),
    Preset(
        name="Zyphra/Zamba2-7B",
        config={
            "model_type": "zamba2",
            "hidden_size": 3584,
            "ffn_hidden_size": 14336,
            "num_hidden_layers": 81,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "expansion_factor": 2,
            "mamba_headdim": 64,
            "mamba_ngroups": 2,
            "state_size": 64,
            "conv_dimension": 4,
            "lora_rank": 128,
            "layers_block_type": listed(81, _HYBRID_7B, "hybrid", "mamba"),
        },
        source="copy of its config.json in NX-AI/mlstm_kernels (first checkpoint's field names)",
        checked=Checked.QUOTED,
    ),
)
