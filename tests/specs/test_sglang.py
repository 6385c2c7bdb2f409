"""A spec's state shapes and bytes against those SGLang computes, at several tp sizes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sglang.srt.configs.falcon_h1 import FalconH1Config
from sglang.srt.configs.granitemoehybrid import GraniteMoeHybridConfig
from sglang.srt.configs.kimi_linear import KimiLinearConfig
from sglang.srt.configs.lfm2 import Lfm2Config
from sglang.srt.configs.lfm2_moe import Lfm2MoeConfig
from sglang.srt.configs.mamba import FalconMambaConfig, MambaConfig
from sglang.srt.configs.mamba2 import Mamba2Config
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.configs.nemotron_h import NemotronHConfig
from sglang.srt.configs.qwen3_5 import Qwen3_5MoeTextConfig, Qwen3_5TextConfig
from sglang.srt.configs.qwen3_next import Qwen3NextConfig
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPoolFP4
from sglang.srt.runtime_context import get_parallel

from cachepawl.errors import ConfigError
from cachepawl.specs import ModelSpec, spec_of
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.dtypes import BF16, FP16, FP32, Dtypes, element_type
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.presets import PRESETS

CLASSES: dict[str, Any] = {
    "falcon_h1": FalconH1Config,
    "falcon_mamba": FalconMambaConfig,
    "granitemoehybrid": GraniteMoeHybridConfig,
    "kimi_linear": KimiLinearConfig,
    "lfm2": Lfm2Config,
    "lfm2_moe": Lfm2MoeConfig,
    "mamba": MambaConfig,
    "mamba2": Mamba2Config,
    "nemotron_h": NemotronHConfig,
    "qwen3_5_moe_text": Qwen3_5MoeTextConfig,
    "qwen3_5_text": Qwen3_5TextConfig,
    "qwen3_next": Qwen3NextConfig,
}
MAMBA = {"hidden_size": 768, "num_hidden_layers": 24, "state_size": 16, "conv_kernel": 4}
EXTRA = {
    "mamba-130m": {"model_type": "mamba", **MAMBA, "expand": 2, "time_step_rank": 48},
    "falcon-mamba-like": {"model_type": "falcon_mamba", **MAMBA, "intermediate_size": 1536},
    "narrow-keys": {
        **dict(PRESETS["Qwen/Qwen3.5-9B"].config), "linear_key_head_dim": 64,
    },
    "one-group": {
        "model_type": "nemotron_h", "hidden_size": 64, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 16, "mamba_num_heads": 16, "mamba_head_dim": 16,
        "ssm_state_size": 8, "n_groups": 1, "conv_kernel": 4, "hybrid_override_pattern": "M*M",
    },
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = EXTRA | {
    name: dict(p.config) for name, p in PRESETS.items() if p.config.get("model_type") in CLASSES
}
TORCH = {torch.float32: FP32, torch.bfloat16: BF16, torch.float16: FP16}


def plain(value: Any) -> Any:
    """Tuples as JSON would give them: transformers insists on lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def sglangs(config: dict[str, Any]) -> Any:
    """SGLang's configuration object of the same fields."""
    values = plain(config)
    return CLASSES[values.pop("model_type")](**values)


def groups_divide(spec: ModelSpec, tp: int) -> bool:
    """Whether SGLang's Mamba-2 mixer would start: it asserts this, its sizing does not."""
    groups = {m.groups for m in spec.mixers if isinstance(m, Mamba2)}
    return all(g == 1 or g % tp == 0 for g in groups)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_those_sglang_allocates(name: str, tp: int) -> None:
    spec = spec_of(CONFIGS[name])
    refused = nullcontext() if groups_divide(spec, tp) else pytest.raises(ConfigError)
    with get_parallel().override(attn_tp_size=tp, tp_size=tp, enable_cp_tp_group_sharing=False):
        params = sglangs(CONFIGS[name]).mamba2_cache_params
    with refused:
        parts = spec.state_parts(tp)
        assert len(parts) == len(params.layers)
        (one,) = set(parts)
        assert one.conv == tuple(params.shape.conv)
        if one.temporal_elements or 0 not in params.shape.temporal:
            assert one.temporal == tuple(params.shape.temporal)
        theirs = Dtypes(BF16, TORCH[params.dtype.conv], TORCH[params.dtype.temporal])
        assert spec.dtypes == theirs
        assert spec.state_bytes(tp) == params.mamba_cache_per_req


@pytest.mark.parametrize("name", [n for n in CONFIGS if "mamba" not in n.lower()])
def test_full_attention_layers_are_those_of_sglang(name: str) -> None:
    spec = spec_of(CONFIGS[name])
    config = sglangs(CONFIGS[name])
    attending = [
        index
        for index, layer in enumerate(spec.layers)
        if any(isinstance(m, Attention | LatentAttention) for m in layer.mixers)
    ]
    assert attending == list(config.full_attention_layer_ids)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("heads", [1, 2, 4, 8, 32])
def test_kv_heads_of_a_rank_are_sglangs(heads: int, tp: int) -> None:
    stub = SimpleNamespace(get_total_num_kv_heads=lambda: heads, is_draft_model=False)
    theirs = ModelConfig.get_num_kv_heads(stub, tp)
    entry = Attention(query_heads=32, kv_heads=heads, head_dim=16, v_head_dim=16)
    assert entry.entry_bytes(BF16, tp) == theirs * 2 * 16 * 2


@pytest.mark.parametrize(("heads", "head_dim"), [(1, 16), (2, 64), (8, 128), (4, 256)])
def test_fp4_entries_are_the_bytes_of_sglangs_buffers(heads: int, head_dim: int) -> None:
    pool = object.__new__(MHATokenToKVPoolFP4)
    slots, layers = 3, 2
    pool.__dict__.update(
        memory_saver_adapter=SimpleNamespace(region=lambda _: nullcontext()),
        enable_custom_mem_pool=False, custom_mem_pool=None, device="cpu",
        size=slots - 1, page_size=1, head_num=heads, head_dim=head_dim, layer_num=layers,
    )  # fmt: skip
    pool._create_buffers()
    buffers = [*pool.k_buffer, *pool.v_buffer, *pool.k_scale_buffer, *pool.v_scale_buffer]
    theirs = sum(b.numel() * b.element_size() for b in buffers)
    entry = Attention(query_heads=heads, kv_heads=heads, head_dim=head_dim, v_head_dim=head_dim)
    assert slots * layers * entry.entry_bytes(element_type("fp4_e2m1")) == theirs
