"""Models by name and by file, their context lengths and their weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.models import load_model, model_context
from cachepawl.specs.presets import PRESETS

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
    "max_position_embeddings": 4096,
}  # fmt: skip


def folder_with(path: Path, config: Any = CONFIG) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_folder_and_its_file(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "Tiny-3B")
    by_folder, by_file = load_model(str(folder)), load_model(str(folder / "config.json"))
    assert by_folder == by_file
    assert (by_folder.name, by_folder.context) == ("Tiny-3B", 4096)
    assert by_folder.weights is not None
    assert by_folder.weights.bytes == 2 * 3 * 10**9


def test_weights_from_the_files_headers(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "Tiny-3B")
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    weights = load_model(str(folder)).weights
    assert weights is not None
    assert weights.bytes == 8
    assert "headers" in weights.source


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("Qwen3-Next-80B-A3B-Instruct", 160 * 10**9),
        ("LiquidAI/LFM2-350M", 700 * 10**6),
        ("LFM2-8B-A1B", 16 * 10**9),
        ("granite-4.0-h-tiny", None),
        ("NVIDIA-Nemotron-Nano-9B-v2", 18 * 10**9),
    ],
)
def test_weights_from_a_name(name: str, bytes_: int | None) -> None:
    weights = load_model(name).weights
    assert (None if weights is None else weights.bytes) == bytes_


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads(name: str) -> None:
    assert load_model(name).spec == PRESETS[name].spec()


CONTEXTS: list[dict[str, Any]] = [
    {"max_position_embeddings": 4096},
    {"seq_length": 100, "max_position_embeddings": 4096},
    {"max_position_embeddings": 4096, "rope_scaling": {"factor": 2.5}},
    {"max_position_embeddings": 4096, "rope_scaling": {"factor": 2.5, "rope_type": "llama3"}},
    {"max_position_embeddings": 4096,
     "rope_scaling": {"factor": 4, "original_max_position_embeddings": 1024}},
    {"max_position_embeddings": 4096, "rope_scaling": None},
]  # fmt: skip


@pytest.mark.parametrize("config", CONTEXTS)
def test_the_context_is_sglangs(config: dict[str, Any]) -> None:
    common = pytest.importorskip("sglang.srt.utils.hf_transformers.common")
    theirs = common.get_context_length(SimpleNamespace(**config))
    assert model_context(config) == model_context({"text_config": config}) == theirs


def test_no_context() -> None:
    assert model_context({}) is None
    assert model_context({"max_position_embeddings": "many"}) is None


@pytest.mark.parametrize("given", ["no-such-model", "./nowhere", "/no/config.json", "x.json", ""])
def test_what_is_no_model(given: str) -> None:
    with pytest.raises((ConfigError, InputError)) as error:
        load_model(given)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"model_type": "gpt2"}'])
def test_what_is_no_configuration(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((ConfigError, InputError), match=r"config\.json"):
        load_model(str(tmp_path))
