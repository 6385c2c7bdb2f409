"""Presets: they load, they equal installed defaults and recorded runs, the docs show them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sglang.srt.configs.nemotron_h import NemotronHConfig
from transformers import CONFIG_MAPPING

from cachepawl.errors import ConfigError
from cachepawl.specs.__main__ import numbers, table
from cachepawl.specs.attention import Attention
from cachepawl.specs.dtypes import BF16, Dtypes
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.presets import PRESETS, Checked, preset

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
VERIFIED = [name for name, p in PRESETS.items() if p.verified]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_says_its_source(name: str) -> None:
    p = PRESETS[name]
    spec = p.spec()
    assert spec.name == name
    assert spec.state_bytes() > 0
    assert spec.prefill_flops(1) > 2 * spec.weights > 0
    assert len(p.source) > 20
    for field in p.unverified:
        inner: Any = p.config
        for part in field.split("."):
            assert part in inner, field
            inner = inner[part]


# KV bytes a token, MiB a state, tokens a state: computed by other means when the arena was
# designed; tokens rounded to nearest there, down here.
DESIGNED = {
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (24576, 73.7, 3144),
    "Qwen/Qwen3.5-35B-A3B": (20480, 61.4, 3144),
    "Qwen/Qwen3.5-9B": (32768, 49.1, 1572),
    "nvidia/Nemotron-H-8B-Base-8K": (16384, 97.4, 6234),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (6144, 46.8, 7989),
    "tiiuae/Falcon-H1-7B-Instruct": (45056, 132.9, 3093),
    "ai21labs/AI21-Jamba-1.5-Mini": (16384, 15.3, 980),
    "Zyphra/Zamba2-7B": (372736, 145.2, 408),
    "ibm-granite/granite-4.0-h-small": (16384, 145.7, 9327),
    "moonshotai/Kimi-Linear-48B-A3B-Instruct": (8064, 41.4, 5384),
}


@pytest.mark.parametrize("name", DESIGNED)
def test_bytes_are_those_the_design_assumed(name: str) -> None:
    spec = PRESETS[name].spec()
    kv, state, tokens = DESIGNED[name]
    assert spec.kv_bytes_per_token() == kv
    assert round(spec.state_bytes() / MIB, 1) == state
    assert round(spec.state_bytes() / kv) == tokens
    assert spec.tokens_per_state() == spec.state_bytes() // kv


def defaults(model_type: str) -> dict[str, Any]:
    """What an installed package takes for a configuration that says nothing."""
    found: dict[str, Any] = CONFIG_MAPPING[model_type]().to_dict()
    if model_type == "nemotron_h":
        found["hybrid_override_pattern"] = NemotronHConfig().hybrid_override_pattern
    return found


# Fields that the defaults lack or contradict, and what stands behind them instead.
OTHERWISE = {
    "Zyphra/Zamba2-2.7B": {"n_mamba_heads"},  # vLLM's run, below
    "mistralai/Mamba-Codestral-7B-v0.1": {"intermediate_size"},  # not used; heads x head_dim
}


@pytest.mark.parametrize("name", VERIFIED)
def test_a_verified_preset_equals_installed_defaults(name: str) -> None:
    p = PRESETS[name]
    assert p.checked is Checked.INSTALLED
    found = defaults(str(p.config["model_type"]))
    words = {"mamba": "linear_attention", "attention": "full_attention"}
    for field, value in p.config.items():
        if field in OTHERWISE.get(name, set()) or field == "mamba_ssm_dtype":
            continue
        if field == "full_attention_interval":
            value = ["linear_attention"] * (value - 1) + ["full_attention"]
            field, value = "layer_types", value * (found["num_hidden_layers"] // len(value))
        if field == "layers_block_type":
            value = [words.get(word, word) for word in value]
        assert found[field] == value, field


def test_zamba2_is_what_vllm_allocated() -> None:
    """The cache plan of a vLLM run of Zyphra/Zamba2-2.7B-instruct: 9 and 54 layers."""
    spec = PRESETS["Zyphra/Zamba2-2.7B"].spec()
    assert spec.full_attention == (Attention(32, 32, 160, 160),) * 9
    assert len(spec.states) == 54
    (mamba,) = set(spec.states)
    assert isinstance(mamba, Mamba2)
    parts = mamba.parts(1)
    assert parts.conv == ((5248, 3),)  # vLLM stores the columns first
    assert parts.temporal == (80, 64, 64)
    # One layer's bytes there, with both parts in bf16; 48 tokens a block of attention.
    assert parts.conv_bytes(BF16) + parts.temporal_bytes(BF16) == 686848
    assert 48 * spec.full_attention[0].entry_bytes(BF16) == 983040
    assert spec.with_dtypes(Dtypes(temporal=BF16)).state_bytes() == 54 * 686848


def test_windows_by_hand() -> None:
    samba = PRESETS["microsoft/Samba-1.3B"].spec()
    assert samba.kv_bytes_per_token() == 0
    assert samba.window_bytes_per_token() == 9 * 18 * (128 + 128) * 2
    assert samba.state_bytes() == 9 * (4608 * 3 * 2 + 4608 * 16 * 4)
    # 3 layers see all; of the 29 others, 14 groups of 2 or 3 share one layer's K and V.
    hymba = PRESETS["nvidia/Hymba-1.5B-Instruct"].spec()
    assert hymba.kv_bytes_per_token() == 3 * 5 * (64 + 128) * 2
    assert hymba.window_bytes_per_token() == 14 * 5 * (64 + 128) * 2
    assert len(hymba.windows) == 29
    assert hymba.state_bytes() == 32 * (3200 * 3 * 2 + 3200 * 16 * 4)
    gemma = PRESETS["google/recurrentgemma-9b"].spec()
    assert gemma.window_bytes_per_token() == 12 * (256 + 256) * 2
    assert gemma.state_bytes() == 26 * (4096 * 3 * 2 + 4096 * 4)


def test_the_published_mamba2_by_hand() -> None:
    spec = PRESETS["state-spaces/mamba2-2.7b"].spec()
    assert spec.state_bytes() == 64 * ((5120 + 2 * 128) * 3 * 2 + 80 * 64 * 128 * 4)


def test_a_preset_is_found_by_either_name() -> None:
    assert preset("qwen3.5-9b") is PRESETS["Qwen/Qwen3.5-9B"]
    assert preset("Qwen/Qwen3.5-9B") is PRESETS["Qwen/Qwen3.5-9B"]
    assert preset("qwen3-next") is PRESETS["Qwen/Qwen3-Next-80B-A3B-Instruct"]
    assert preset("Zyphra/Zamba2-7") is PRESETS["Zyphra/Zamba2-7B"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt", r"no preset 'gpt'; give a config.json, or one of: Qwen/"),
        ("", r"no preset ''"),
        ("qwen3next80b", r"or one of: Qwen/Qwen3-Next-80B-A3B-Instruct"),
        ("falcon-h1", r"'falcon-h1' is short for 5 presets: tiiuae/Falcon-H1-0.5B-Instruct, "),
    ],
)
def test_what_is_no_preset_names_those_that_come_near(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        preset(name)


def test_unverified_numbers_are_said_in_the_table() -> None:
    for p in PRESETS.values():
        assert ("unverified" in numbers(p)) == bool(p.unverified)
        assert (numbers(p) == "tested") == p.verified


def test_the_docs_hold_the_table_that_the_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cachepawl.specs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == table()
    assert table() in (ROOT / "docs/models.md").read_text(encoding="utf-8")
