"""The shapes of the tiny models: one per way a model can mix attention with states."""

from typing import Any

FAMILIES = ("nemotron_h", "qwen3_5", "falcon_h1", "lfm2", "qwen3")

# SGLang has no ping-pong state slots for it: page size 1, no overlap scheduling.
WITHOUT_EXTRA_BUFFER = frozenset({"lfm2"})
# Attention only.
WITHOUT_STATES = frozenset({"qwen3"})

CONTEXT = 8192
# 5 special tokens and 256 bytes, rounded up.
VOCABULARY = 264
BOS, EOS, PAD = 1, 4, 0

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "dtype": "float32",
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

_OWN: dict[str, dict[str, Any]] = {
    # Mamba-2 layers, MLPs and attention layers in turn.
    "nemotron_h": {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "M-*-M-*-",
        "num_hidden_layers": 8,
        "head_dim": 16,
        "mlp_hidden_act": "relu2",
        "ssm_state_size": 16,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "mamba_n_groups": 2,  # SGLang reads either name, in different places
        "mamba_expand": 1,
        "mamba_d_conv": 4,
        "mamba_conv_bias": True,
        "mamba_chunk_size": 64,
        "layer_norm_epsilon": 1e-5,
        "rms_norm_eps": 1e-5,
    },
    # Gated delta rule and gated attention in turn.
    "qwen3_5": {
        "architectures": ["Qwen3_5ForCausalLM"],
        "model_type": "qwen3_5_text",
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "full_attention_interval": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "attn_output_gate": True,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "mamba_ssm_dtype": "float32",
        "partial_rotary_factor": 0.5,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    },
    # Attention and Mamba-2 side by side in every layer.
    "falcon_h1": {
        "architectures": ["FalconH1ForCausalLM"],
        "model_type": "falcon_h1",
        "num_hidden_layers": 3,
        "head_dim": 16,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_expand": 1,
        "mamba_chunk_size": 64,
        "mamba_conv_bias": True,
        "mamba_rms_norm": True,
        "mamba_norm_before_gate": False,
        "mamba_use_mlp": True,
        "ssm_multipliers": [1.0] * 5,
        "mlp_multipliers": [1.0, 1.0],
    },
    # Short convolutions and attention in turn.
    "lfm2": {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "layer_types": ["conv", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "conv_L_cache": 3,
        "conv_bias": False,
        "block_auto_adjust_ff_dim": False,
    },
    # Attention only: no states at all.
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 3,
        "head_dim": 16,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    },
}


# Heads as compiled attention kernels take them, and states as compiled scans do.
_WIDE: dict[str, dict[str, Any]] = {
    "nemotron_h": {"head_dim": 64, "ssm_state_size": 64, "mamba_head_dim": 64},
    "qwen3_5": {
        "head_dim": 64,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "rope_parameters": _OWN["qwen3_5"]["rope_parameters"] | {"mrope_section": [8, 4, 4]},
    },
    "falcon_h1": {"head_dim": 64, "mamba_d_ssm": 256, "mamba_d_head": 64, "mamba_d_state": 64},
    "qwen3": {"head_dim": 64},
}
WIDE_FAMILIES = tuple(_WIDE)
"""Families that also come in shapes for a GPU."""


def config_of(family: str, *, wide: bool = False) -> dict[str, Any]:
    """The ``config.json`` of `family`, as SGLang and transformers both read it.

    Args:
        family: One of `FAMILIES`.
        wide: In the shapes that a GPU's kernels take; for one of `WIDE_FAMILIES`.

    Raises:
        ValueError: there is no such family.
    """
    known = WIDE_FAMILIES if wide else FAMILIES
    if family not in known:
        raise ValueError(f"unknown family {family!r}; one of: {', '.join(known)}")
    return _COMMON | _OWN[family] | (_WIDE[family] if wide else {})
