"""Nemotron-H and Nemotron-3."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_MAMBA = {
    "model_type": "nemotron_h",
    "head_dim": 128,
    "ssm_state_size": 128,
    "n_groups": 8,
    "conv_kernel": 4,
}

PRESETS = (
    Preset(
        name="nvidia/Nemotron-H-8B-Base-8K",
        config={
            **_MAMBA,
            "hidden_size": 4096,
            "intermediate_size": 21504,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "mamba_num_heads": 128,
            "mamba_head_dim": 64,
            "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
        },
        source="defaults of transformers' NemotronHConfig, the pattern SGLang's; both are this "
        "model's, as public copies of its config.json show",
        checked=Checked.INSTALLED,
    ),
    Preset(
        name="nvidia/NVIDIA-Nemotron-Nano-9B-v2",
        config={
            **_MAMBA,
            "hidden_size": 4480,
            "intermediate_size": 15680,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "mamba_num_heads": 128,
            "mamba_head_dim": 80,
            "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
        },
        source="its config.json, as a public test quotes it",
        checked=Checked.QUOTED,
    ),
    Preset(
        name="nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        config={
            **_MAMBA,
            "hidden_size": 2688,
            "num_attention_heads": 32,
            "num_key_value_heads": 2,
            "mamba_num_heads": 64,
            "mamba_head_dim": 64,
            "n_routed_experts": 128,
            "num_experts_per_tok": 6,
            "n_shared_experts": 1,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
            "mamba_ssm_cache_dtype": "float32",
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
        },
        source="its config.json, as several public ports quote it; Megatron-LM's recipe agrees",
        checked=Checked.QUOTED,
    ),
)
