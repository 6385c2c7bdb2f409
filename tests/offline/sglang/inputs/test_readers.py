"""Each reader on a small input, and on inputs that it must refuse by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cachepawl.errors import InputError
from cachepawl.offline.sglang.inputs.facts import Reading
from cachepawl.offline.sglang.inputs.launch import read_launch
from cachepawl.offline.sglang.inputs.log import read_log
from cachepawl.offline.sglang.inputs.metrics import read_metrics
from cachepawl.offline.sglang.inputs.model import read_model
from cachepawl.offline.sglang.inputs.server_info import read_server_info
from cachepawl.specs.presets import PRESETS


def values(reading: Reading) -> dict[str, int | float]:
    return {name: fact.value for name, fact in reading.facts.items()}


def test_metrics(files: Any) -> None:
    """Gauges of the first rank; a mean needs requests; the state pool is a sum."""
    reading = read_metrics(files.metrics)
    assert values(reading) == {
        "token_usage": 0.25, "kv_tokens": 4096, "states_used": 4, "states_free": 50,
        "states_evictable": 10, "state_slots": 64, "typical_prompt": 150,
    }  # fmt: skip
    assert reading.facts["token_usage"].source == f"{files.metrics}:4 sglang:token_usage"


def test_log(files: Any) -> None:
    reading = read_log(files.log)
    assert values(reading) == {
        "page_tokens": 16, "chunk_tokens": 256, "free_before": 79.0, "free_after": 40.5,
        "state_slots": 64, "kv_tokens": 4096, "running_limit": 4, "context_limit": 2048,
        "host_kv_tokens": 6160, "host_states": 97, "kv_usage": 0.14, "states_usage": 0.06,
    }  # fmt: skip
    assert reading.facts["kv_tokens"].source == f"{files.log}:5"
    assert reading.server_args is not None
    assert reading.server_args["unknown"] == ("a", None)


def test_the_last_start_in_a_log_counts(files: Any) -> None:
    again = "[2026-01-02 04:00:00] server_args={'page_size': 1}\n"
    files.log.write_text(files.log.read_text() + again)
    assert values(read_log(files.log)) == {"page_tokens": 1}


def test_server_info(files: Any) -> None:
    reading = read_server_info(files.server_info)
    assert values(reading) == {
        "kv_tokens": 4096, "running_limit": 4, "state_slots": 64, "page_tokens": 16,
        "chunk_tokens": 512,
    }  # fmt: skip
    assert reading.version == "0.5.23"
    assert reading.command.startswith("--model-path m")


def test_chunks_without_a_limit(files: Any) -> None:
    info = json.loads(files.server_info.read_text()) | {"chunked_prefill_size": -1}
    files.server_info.write_text(json.dumps(info))
    assert values(read_server_info(files.server_info))["chunk_tokens"] == -1


def test_launch(files: Any) -> None:
    flags = read_launch(files.launch)
    assert (flags.page_size, flags.chunked_prefill_size) == (16, 512)
    assert flags.environment_value("SGLANG_MAMBA_SSM_DTYPE") == "bfloat16"
    assert flags.given == {"model_path", "page_size", "chunked_prefill_size"}


def test_model(files: Any) -> None:
    for name in (str(files.model), str(files.model.parent)):
        model = read_model(name)
        assert len(model.spec.states) == 1
        assert values(model.reading) == {"state_chunk": 128, "model_context": 8192}


@pytest.mark.parametrize(
    ("model_type", "more", "chunk"),
    [("nemotron_h", {"mamba_chunk_size": None, "chunk_size": 32}, 32),
     ("nemotron_h", {"mamba_chunk_size": None}, 256)],
)  # fmt: skip
def test_state_chunk(files: Any, model_type: str, more: dict[str, Any], chunk: int) -> None:
    config = json.loads(files.model.read_text()) | {"model_type": model_type} | more
    files.model.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    assert values(read_model(str(files.model)).reading)["state_chunk"] == chunk


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_model(name: str) -> None:
    assert read_model(name).spec.name == name


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sglang:token_usage nope", "not a number"),
        ("sglang:token_usage -1", "at least 0"),
        ("sglang:token_usage NaN", "finite"),
        ("sglang:token_usage +Inf", "finite"),
        ("sglang:max_total_num_tokens 1e300", "finite"),
        ('sglang:token_usage{a="b" 1', "not a metrics line"),
        ('sglang:token_usage{a="b",a="c"} 1', "labels"),
        ("sglang:token_usage{a=b} 1", "labels"),
        ("<html>", "not a metrics line"),
        ("sglang:prompt_tokens_histogram_sum -4", "at least 0"),
    ],
)
def test_bad_metrics(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "m"
    path.write_text(f"sglang:page_size 1\n{line}\n")
    with pytest.raises(InputError, match=says) as error:
        read_metrics(path)
    assert str(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x server_args={'page_size': 16", "no line of an SGLang"),
        ("x server_args={'page_size': open('x')}", "cannot be read"),
        ("x server_args={1: 2}", "no mapping of names"),
        ("x server_args={'page_size': '16'}", "whole number"),
        ("x server_args={'page_size': -16}", "whole number"),
        ("x server_args={'page_size': " + "9" * 5000 + "}", "cannot be read|whole number"),
        ("x server_args={" + "[" * 5000 + "}", "cannot be read"),
    ],
)
def test_bad_logs(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "log"
    path.write_text(text + "\n")
    with pytest.raises(InputError, match=says) as error:
        read_log(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_total_num_tokens": "4096"}, "max_total_num_tokens"),
        ({"max_total_num_tokens": True}, "max_total_num_tokens"),
        ({"max_total_num_tokens": -1}, "max_total_num_tokens"),
        ({"max_total_num_tokens": 10**30}, "max_total_num_tokens"),
        ({"internal_states": {}}, "internal_states"),
        ({"internal_states": [1]}, "internal_states"),
        ({"internal_states": [{"max_mamba_cache_size": 0}]}, "max_mamba_cache_size"),
        ({"page_size": 1.5}, "page_size"),
        ({"launch_command": 5}, "launch_command"),
    ],
)
def test_bad_server_info(files: Any, changes: dict[str, Any], says: str) -> None:
    info = json.loads(files.server_info.read_text()) | changes
    files.server_info.write_text(json.dumps(info))
    with pytest.raises(InputError, match=says) as error:
        read_server_info(files.server_info)
    assert str(error.value).startswith(str(files.server_info))


def test_no_such_model() -> None:
    with pytest.raises(InputError, match="no preset 'nope'"):
        read_model("nope")
    with pytest.raises(InputError, match="No such file"):
        read_model("nope/config.json")
