"""Readers: what is refused, in one line that names the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vllm_plans import plan, planner_notes, runtime_notes, written

from cachepawl.errors import InputError
from cachepawl.offline.vllm.read import read_notes, read_plan
from cachepawl.offline.vllm.schema import CachePlan, PlannerNotes, RuntimeNotes

BAD_COUNTS = [True, -1, 1.0, 1.5, "7", 1 << 70, [], {}]


def refusal(tmp_path: Path, value: Any, read=read_plan) -> str:
    path = written(tmp_path / "file.json", value)
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 300
    return text


@pytest.mark.parametrize("bad", BAD_COUNTS)
@pytest.mark.parametrize("field", ["num_blocks", "total_useful_bytes", "layer_count"])
def test_a_number_of_the_plan(field: str, bad: object, tmp_path: Path) -> None:
    assert f" {field} is " in refusal(tmp_path, plan() | {field: bad})


@pytest.mark.parametrize("bad", [*BAD_COUNTS, None])
def test_the_size_of_a_tensor(bad: object, tmp_path: Path) -> None:
    value = plan()
    value["tensors"][1]["size_bytes"] = bad
    assert " tensors[1].size_bytes is " in refusal(tmp_path, value)


@pytest.mark.parametrize("bad", [*BAD_COUNTS, 0])
def test_the_tokens_of_a_block(bad: object, tmp_path: Path) -> None:
    value = plan()
    value["groups"][2]["cache_spec"]["block_size"] = bad
    assert " groups[2].cache_spec.block_size is " in refusal(tmp_path, value)


def test_what_was_found_and_the_remedy_are_said(tmp_path: Path) -> None:
    text = refusal(tmp_path, plan() | {"num_blocks": -1, "layer_count": True})
    assert "num_blocks is -1: Input should be greater than or equal to 0; and 1 more" in text
    assert "export the file again" in text
    assert "num_blocks is true: Input should be a valid integer" in refusal(
        tmp_path, plan() | {"num_blocks": True}
    )
    assert "is a list:" in refusal(tmp_path, plan() | {"num_blocks": [1]})
    assert "groups is null:" in refusal(tmp_path, plan() | {"groups": None})


@pytest.mark.parametrize("field", ["groups", "tensors"])
def test_what_a_plan_cannot_be_without(field: str, tmp_path: Path) -> None:
    value = plan()
    del value[field]
    assert f" {field}: Field required" in refusal(tmp_path, value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (plan() | {"more": 1}, read_plan),
        (plan() | {"schema_version": 2}, read_plan),
        ({"available_gpu_memory_for_kv_cache": 1, "more": 1}, read_notes),
        ({"available_memory": [1], "available_gpu_memory_for_kv_cache": 1}, read_notes),
        ({"available_memory": [True]}, read_notes),
        ({"available_memory": 7}, read_notes),
        ({"available_gpu_memory_for_kv_cache": [7]}, read_notes),
        ({"runtime_changed_during_replay": 0}, read_notes),
    ],
)
def test_unknown_fields_other_versions_and_other_types(value, read, tmp_path: Path) -> None:
    refusal(tmp_path, value, read)


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31m", "\ud800", "k" * 10_000, ""])
def test_a_key_of_the_file_cannot_spoil_the_line(key: str, tmp_path: Path) -> None:
    refusal(tmp_path, plan() | {key: "v\n" * 1000})
    refusal(tmp_path, plan() | {"num_blocks": key})


def test_odd_characters_of_a_key_are_shown(tmp_path: Path) -> None:
    assert " gr\\xf6\\u03b2e is 1: Extra inputs" in refusal(tmp_path, plan() | {"gröβe": 1})
    assert " a key is '\\ud800': " in refusal(tmp_path, plan() | {"\ud800": 1})


def test_metadata_of_a_spec_is_open_but_what_is_read_of_it_is_checked(tmp_path: Path) -> None:
    value = plan()
    value["groups"][0]["cache_spec"]["metadata"] = {"of_a_later_vllm": [1, {"a": None}]}
    read_plan(written(tmp_path / "a.json", value))
    value["groups"][0]["cache_spec"]["metadata"] = {"mamba_cache_mode": "some"}
    assert "mamba_cache_mode is 'some'" in refusal(tmp_path, value)
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    value["groups"][0]["cache_spec"]["metadata"] = {"deep": deep}
    read_plan(written(tmp_path / "a.json", value))


def test_notes_of_both_kinds(tmp_path: Path) -> None:
    runtime = read_notes(written(tmp_path / "a.json", runtime_notes()))
    assert isinstance(runtime, RuntimeNotes)
    planner = read_notes(written(tmp_path / "b.json", planner_notes()))
    assert isinstance(planner, PlannerNotes)
    assert (runtime.available_bytes, planner.available_bytes) == (5000, 4500)
    assert read_notes(written(tmp_path / "c.json", {})).available_bytes is None


def test_a_plan_is_kept_as_it_was() -> None:
    value = plan()
    again = json.loads(CachePlan.model_validate(value).model_dump_json(exclude_unset=True))
    assert again == value
