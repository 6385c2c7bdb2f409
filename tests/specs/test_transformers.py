"""A spec's bytes and weights against the tensors of real, tiny models of transformers.

A convolution's buffer in transformers has one column more than what the next token
needs; `test_the_oldest_column_of_a_convolution_is_never_read` shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

from cachepawl.specs import ModelSpec, read_config
from cachepawl.specs.dtypes import BF16, FP32, Dtypes

TOKENS = 9
COMMON: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "bfloat16",
}
DELTA = {
    "num_hidden_layers": 5,
    "head_dim": 16,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 24,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
IN_TURN = ["linear_attention", "full_attention", "linear_attention"]
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "mamba": {"num_hidden_layers": 2, "state_size": 8, "time_step_rank": 5},
    "falcon_mamba": {"num_hidden_layers": 2, "state_size": 8, "expand": 16},
    "mamba2": {
        "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 2,
    },
    "jamba": {
        "num_hidden_layers": 5, "attn_layer_period": 3, "attn_layer_offset": 1, "num_experts": 4,
        "num_experts_per_tok": 2, "mamba_d_state": 8,
    },
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1], **MAMBA2},
    "zamba2": {
        "num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"],
        "n_mamba_heads": 8, "mamba_d_state": 8, "mamba_ngroups": 2, "num_key_value_heads": 4,
        "use_shared_attention_adapter": True, "adapter_rank": 12,
    },
    "recurrent_gemma": {
        "num_hidden_layers": 4, "attention_window_size": 16, "lru_width": 48,
        "num_key_value_heads": 1,
    },
    "qwen3_next": {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 32,
                   "mlp_only_layers": [1]},
    "qwen3_5_text": DELTA,
    "qwen3_5_moe_text": {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 32},
    "nemotron_h": {
        "hybrid_override_pattern": "M-*ME", "head_dim": 16, "mamba_num_heads": 8,
        "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 2, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "moe_shared_expert_intermediate_size": 40,
    },
    "falcon_h1": {
        "num_hidden_layers": 2, "head_dim": 16, **MAMBA2, "mamba_d_ssm": 96, "mamba_n_heads": 6,
    },
    "granitemoehybrid": {
        "num_hidden_layers": 3, "layer_types": IN_TURN, **MAMBA2, "num_local_experts": 4,
        "num_experts_per_tok": 2, "shared_intermediate_size": 32,
    },
    "kimi_linear": {
        "num_hidden_layers": 4, "num_key_value_heads": 4, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 24, "num_experts": 4,
        "num_experts_per_token": 2, "moe_intermediate_size": 16, "num_shared_experts": 1,
        "first_k_dense_replace": 1,
        "linear_attn_config": {
            "head_dim": 16, "num_heads": 2, "short_conv_kernel_size": 4,
            "kda_layers": [1, 2, 4], "full_attn_layers": [3],
        },
    },
    "lfm2": {
        "intermediate_size": 600, "num_hidden_layers": 3,
        "layer_types": ["conv", "full_attention", "conv"],
    },
    "lfm2_moe": {
        "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"], **EXPERTS,
        "num_dense_layers": 1,
    },
    "llama": {"num_hidden_layers": 2},
    "qwen2": {"num_hidden_layers": 2},
    "qwen3": {"num_hidden_layers": 2, "head_dim": 24},
}  # fmt: skip
STATELESS = {"llama", "qwen2", "qwen3"}


def build(family: str, **own: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**COMMON | FAMILIES[family] | own)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def prefill(model: Any) -> Any:
    """The model's cache after `TOKENS` tokens."""
    cache = DynamicCache(config=model.config)
    name = "cache_params" if "mamba" in type(model).__name__.lower() else "past_key_values"
    name = "past_key_values" if "bamba" in type(model).__name__.lower() else name
    with torch.no_grad():
        model(torch.arange(1, TOKENS + 1)[None], use_cache=True, **{name: cache})
    return cache


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def spec_of_saved(model: Any, folder: Path) -> ModelSpec:
    """The spec, read from the config.json that transformers writes."""
    model.config.save_pretrained(folder)
    return read_config(folder)


def size(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def tensors_of(model: Any, cache: Any) -> tuple[int, int, int]:
    """Bytes in the cache's tensors: KV a token, convolutions' needed columns, recurrences."""
    kv = conv = temporal = 0
    for layer in cache.layers:
        kv += size(getattr(layer, "keys", None)) + size(getattr(layer, "values", None))
        for state in getattr(layer, "conv_states", {}).values():
            conv += 0 if state is None else size(state[..., 1:])
        temporal += sum(size(s) for s in getattr(layer, "recurrent_states", {}).values())
    if model.config.model_type == "recurrent_gemma":  # it keeps states in its modules
        for layer in model.model.layers:
            if hasattr(layer.temporal_block, "rg_lru"):
                conv += size(layer.temporal_block.conv1d_state)
                temporal += size(layer.temporal_block.rg_lru.recurrent_states)
    assert kv % TOKENS == 0
    return kv // TOKENS, conv, temporal


def test_bytes_are_those_of_the_models_tensors(family: str, tmp_path: Path) -> None:
    model = build(family)
    spec = spec_of_saved(model, tmp_path)
    assert spec.dtypes == Dtypes(kv=BF16, conv=BF16, temporal=FP32)
    kv, conv, temporal = tensors_of(model, prefill(model))
    assert kv > 0 or family in ("mamba", "falcon_mamba", "mamba2")
    assert (conv > 0) == (family not in STATELESS)
    assert spec.kv_bytes_per_token() + spec.window_bytes_per_token() == kv
    assert spec.conv_bytes() == conv
    assert spec.temporal_bytes() == temporal


def matrices(model: Any) -> int:
    """Matrix elements that meet a token: of experts the active ones, no embeddings, no head."""
    config = model.config
    total = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    total = total or getattr(config, "n_routed_experts", None)
    count = 0
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or "embed" in name or "lm_head" in name:
            continue
        if name.endswith(("A_log", "_bias")) or "conv" in name.split(".")[-2]:
            continue
        active = parameter.numel()
        if ".experts." in name:
            active = active * config.num_experts_per_tok // total
        count += active
    return count


def test_weights_are_the_models_matrices(family: str, tmp_path: Path) -> None:
    model = build(family)
    assert spec_of_saved(model, tmp_path).weights == matrices(model)


@pytest.mark.parametrize(
    ("family", "own"),
    [
        ("jamba", {"num_experts": 1, "num_experts_per_tok": 1}),
        ("granitemoehybrid", {"num_local_experts": 0}),
        ("zamba2", {"use_shared_attention_adapter": False}),
        ("lfm2", {"block_auto_adjust_ff_dim": False}),
        ("lfm2", {"block_ffn_dim_multiplier": 1.7}),
        ("qwen3_next", {"decoder_sparse_step": 2}),
        ("nemotron_h", {"moe_latent_size": 24}),
        ("kimi_linear", {"q_lora_rank": 20}),
    ],
)
def test_weights_of_variants(family: str, own: dict[str, Any], tmp_path: Path) -> None:
    model = build(family, **own)
    assert spec_of_saved(model, tmp_path).weights == matrices(model)


@pytest.mark.parametrize(
    "family", ["mamba", "mamba2", "jamba", "qwen3_next", "lfm2", "kimi_linear"]
)
def test_the_oldest_column_of_a_convolution_is_never_read(family: str) -> None:
    model = build(family)

    def next_logits(blanked: int | None) -> torch.Tensor:
        cache = prefill(model)
        for layer in cache.layers:
            for state in getattr(layer, "conv_states", {}).values():
                if state is not None and blanked is not None:
                    state[..., blanked] = 0
        name = "cache_params" if family.startswith("mamba") else "past_key_values"
        with torch.no_grad():
            return model(torch.tensor([[7]]), use_cache=True, **{name: cache}).logits

    whole = next_logits(None)
    assert torch.equal(next_logits(0), whole)
    assert not torch.equal(next_logits(1), whole)


def test_a_text_tower_is_read_through_its_text_config(tmp_path: Path) -> None:
    text = COMMON | DELTA
    config = CONFIG_MAPPING["qwen3_5"](text_config=text)
    config.save_pretrained(tmp_path)
    alone = CONFIG_MAPPING["qwen3_5_text"](**text)
    alone.save_pretrained(tmp_path / "alone")
    assert read_config(tmp_path).layers == read_config(tmp_path / "alone").layers


ALL_LATENT = {
    **FAMILIES["kimi_linear"],
    "linear_attn_config": {
        "head_dim": 16, "num_heads": 2, "short_conv_kernel_size": 4,
        "kda_layers": [], "full_attn_layers": [1, 2, 3, 4],
    },
    "first_k_dense_replace": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "own"), [("llama", {}), ("qwen3", {}), ("kimi_linear", ALL_LATENT)]
)
def test_flops_are_those_torch_counts(family: str, own: dict[str, Any], tmp_path: Path) -> None:
    """Attention alone, where torch counts all (query, key) pairs, masked ones too."""
    model = build(family, **own)
    config = model.config
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.arange(1, TOKENS + 1)[None], use_cache=False, logits_to_keep=1)
    spec = spec_of_saved(model, tmp_path)
    head = 2 * config.hidden_size * config.vocab_size
    masked = TOKENS * (TOKENS - 1) // 2 * sum(a.pair_flops for a in spec.full_attention)
    assert spec.prefill_flops(TOKENS) + masked + head == counter.get_total_flops()
