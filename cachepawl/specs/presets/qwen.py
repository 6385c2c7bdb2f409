"""Qwen3-Next and the Qwen3.5 family."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_COMMON = {
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "mamba_ssm_dtype": "float32",
}


def _dense(
    size: str, source: str, checked: Checked, unverified: tuple[str, ...] = (), **own: int
) -> Preset:
    config = {"model_type": "qwen3_5_text", **_COMMON, **own}
    return Preset(f"Qwen/Qwen3.5-{size}", config, source, checked, unverified)


def _sparse(size: str, source: str, checked: Checked, **own: int) -> Preset:
    config = {"model_type": "qwen3_5_moe_text", **_COMMON, "num_key_value_heads": 2, **own}
    return Preset(f"Qwen/Qwen3.5-{size}", config, source, checked)


PRESETS = (
    Preset(
        name="Qwen/Qwen3-Next-80B-A3B-Instruct",
        config={
            "model_type": "qwen3_next",
            **_COMMON,
            "hidden_size": 2048,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "linear_num_value_heads": 32,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "decoder_sparse_step": 1,
        },
        source="defaults of transformers' Qwen3NextConfig, which are this model's",
        checked=Checked.INSTALLED,
    ),
    _dense(
        "0.8B",
        "text_config of its config.json, as public ports and tests quote it",
        Checked.QUOTED,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=24,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
    ),
    _dense(
        "2B",
        "its model card (layers and heads), as public code quotes it",
        Checked.QUOTED,
        ("hidden_size", "intermediate_size"),
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=24,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
    ),
    _dense(
        "4B",
        "text_config of its config.json, as a public test quotes it",
        Checked.QUOTED,
        hidden_size=2560,
        intermediate_size=9216,
        num_hidden_layers=32,
        num_attention_heads=16,
        num_key_value_heads=4,
        linear_num_value_heads=32,
    ),
    _dense(
        "9B",
        "defaults of transformers' Qwen3_5TextConfig, which are this model's",
        Checked.INSTALLED,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=32,
        num_attention_heads=16,
        num_key_value_heads=4,
        linear_num_value_heads=32,
    ),
    _dense(
        "27B",
        "text_config of its config.json, as public tests quote it",
        Checked.QUOTED,
        hidden_size=5120,
        intermediate_size=17408,
        num_hidden_layers=64,
        num_attention_heads=24,
        num_key_value_heads=4,
        linear_num_value_heads=48,
    ),
    _sparse(
        "35B-A3B",
        "defaults of transformers' Qwen3_5MoeTextConfig, which are this model's",
        Checked.INSTALLED,
        hidden_size=2048,
        num_hidden_layers=40,
        num_attention_heads=16,
        linear_num_value_heads=32,
        num_experts=256,
        num_experts_per_tok=8,
        moe_intermediate_size=512,
        shared_expert_intermediate_size=512,
    ),
    _sparse(
        "122B-A10B",
        "text_config of its config.json, as public tests quote it",
        Checked.QUOTED,
        hidden_size=3072,
        num_hidden_layers=48,
        num_attention_heads=32,
        linear_num_value_heads=64,
        num_experts=256,
        num_experts_per_tok=8,
        moe_intermediate_size=1024,
        shared_expert_intermediate_size=1024,
    ),
    _sparse(
        "397B-A17B",
        "text_config of its config.json, as public tests quote it",
        Checked.QUOTED,
        hidden_size=4096,
        num_hidden_layers=60,
        num_attention_heads=32,
        linear_num_value_heads=64,
        num_experts=512,
        num_experts_per_tok=10,
        moe_intermediate_size=1024,
        shared_expert_intermediate_size=1024,
    ),
)
