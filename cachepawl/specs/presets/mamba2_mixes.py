"""Falcon-H1 and Granite-4.0-H."""

from __future__ import annotations

from cachepawl.specs.presets.patterns import listed
from cachepawl.specs.presets.preset import Checked, Preset

_CARD = "table of sizes in transformers' documentation of FalconH1"


def _falcon(size: str, source: str, unverified: tuple[str, ...] = (), **own: int) -> Preset:
    config = {"model_type": "falcon_h1", "mamba_d_conv": 4, **own}
    return Preset(f"tiiuae/Falcon-H1-{size}-Instruct", config, source, Checked.QUOTED, unverified)


_GRANITE = {
    "model_type": "granitemoehybrid",
    "num_hidden_layers": 40,
    "layer_types": listed(40, (5, 15, 25, 35), "attention", "mamba"),
    "mamba_d_state": 128,
    "mamba_d_head": 64,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_d_conv": 4,
}


def _granite(size: str, source: str, unverified: tuple[str, ...] = (), **own: int) -> Preset:
    config = {**_GRANITE, **own}
    return Preset(f"ibm-granite/granite-4.0-h-{size}", config, source, Checked.QUOTED, unverified)


PRESETS = (
    _falcon(
        "0.5B",
        f"{_CARD}; a copy of its config.json (MerlinSafety/HybridIntelligence-0.5B)",
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=36,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        mamba_d_ssm=1536,
        mamba_n_heads=24,
        mamba_d_head=64,
        mamba_n_groups=1,
        mamba_d_state=128,
    ),
    _falcon(
        "1.5B",
        f"{_CARD}; its config.json as a public test quotes it",
        hidden_size=2048,
        intermediate_size=4608,
        num_hidden_layers=24,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=128,
        mamba_d_ssm=3072,
        mamba_n_heads=48,
        mamba_d_head=64,
        mamba_n_groups=1,
        mamba_d_state=256,
    ),
    _falcon(
        "3B",
        f"{_CARD}; its config.json as a public test quotes it",
        hidden_size=2560,
        intermediate_size=6144,
        num_hidden_layers=32,
        num_attention_heads=10,
        num_key_value_heads=2,
        head_dim=128,
        mamba_d_ssm=4096,
        mamba_n_heads=32,
        mamba_d_head=128,
        mamba_n_groups=1,
        mamba_d_state=256,
    ),
    _falcon(
        "7B",
        f"{_CARD}; its config.json as public tests quote it",
        hidden_size=3072,
        intermediate_size=12288,
        num_hidden_layers=44,
        num_attention_heads=12,
        num_key_value_heads=2,
        head_dim=128,
        mamba_d_ssm=3072,
        mamba_n_heads=24,
        mamba_d_head=128,
        mamba_n_groups=1,
        mamba_d_state=256,
    ),
    _falcon(
        "34B",
        _CARD,
        ("intermediate_size", "mamba_n_groups"),
        hidden_size=5120,
        intermediate_size=21504,
        num_hidden_layers=72,
        num_attention_heads=20,
        num_key_value_heads=4,
        head_dim=128,
        mamba_d_ssm=4096,
        mamba_n_heads=32,
        mamba_d_head=128,
        mamba_n_groups=2,
        mamba_d_state=256,
    ),
    _granite(
        "1b",
        "its config.json, as a public test quotes it (August 2026)",
        hidden_size=1536,
        num_attention_heads=12,
        num_key_value_heads=4,
        intermediate_size=4096,
        shared_intermediate_size=4096,
        num_local_experts=0,
        mamba_n_heads=48,
    ),
    _granite(
        "tiny",
        "its config.json, as a public test quotes it",
        hidden_size=1536,
        num_attention_heads=12,
        num_key_value_heads=4,
        intermediate_size=512,
        shared_intermediate_size=1024,
        num_local_experts=64,
        num_experts_per_tok=6,
        mamba_n_heads=48,
    ),
    _granite(
        "small",
        "its config.json, of which public documents quote all but what is marked",
        ("layer_types", "mamba_n_heads", "mamba_d_head", "mamba_n_groups"),
        hidden_size=4096,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=768,
        shared_intermediate_size=1536,
        num_local_experts=72,
        num_experts_per_tok=10,
        mamba_n_heads=128,
    ),
)
