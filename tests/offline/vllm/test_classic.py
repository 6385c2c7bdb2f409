"""The classic figures, by hand and beside a report that was made elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_plans import plan, planner_notes, real_artifacts, runtime_notes, zamba2

from cachepawl.offline.vllm.contradictions import contradictions
from cachepawl.offline.vllm.read import read_notes, read_plan
from cachepawl.offline.vllm.report import as_data, vllm_report
from cachepawl.offline.vllm.schema import CachePlan, PlannerNotes, RuntimeNotes

NOTES = RuntimeNotes.model_validate(runtime_notes())


def report(value: dict[str, Any], notes: RuntimeNotes | PlannerNotes | None = NOTES):
    return as_data(vllm_report(CachePlan.model_validate(value), notes))


def differences(wanted: Any, got: Any, where: str = "") -> list[str]:
    """Where `got` lacks something of `wanted` or has another value; it may have more fields."""
    if isinstance(wanted, dict):
        lost = [f"{where}.{key} is missing" for key in wanted if key not in got]
        kept = [key for key in wanted if key in got]
        return lost + [d for k in kept for d in differences(wanted[k], got[k], f"{where}.{k}")]
    if isinstance(wanted, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}[{i}]")]
    same = wanted == got and type(wanted) is type(got)
    return [] if same else [f"{where}: {wanted!r} is {got!r}"]


def test_equals_the_known_report_field_by_field() -> None:
    folder = real_artifacts()
    observed = folder / "vllm-runtime-cache-plan-observation"
    wanted = json.loads((folder / "vllm-runtime-cache-diagnostic-cli/report.json").read_text())
    found = vllm_report(
        read_plan(observed / "translated_runtime_cache_config.json"),
        read_notes(observed / "raw_safe_metadata.json"),
    )
    assert len(wanted) == 24
    assert differences(wanted, json.loads(json.dumps(as_data(found)))) == []


def test_differences_are_found() -> None:
    assert differences({"a": [1, {"b": 1}]}, {"a": [1, {"b": 2}]}) == [".a[1].b: 1 is 2"]
    assert differences({"a": 1}, {}) == [".a is missing"]
    assert differences([True, 1.0], [1, 1]) != []


def test_every_real_plan_is_read_and_agrees_with_its_notes() -> None:
    blocks = {}
    for path in sorted(real_artifacts().rglob("translated_*.json")):
        found = read_plan(path)
        notes = read_notes(path.parent / "raw_safe_metadata.json")
        assert contradictions(found, notes) == []
        data = as_data(vllm_report(found, notes))
        reserved = data["observed_reserved_bytes"]
        assert reserved == 9 * 983040 * data["num_blocks"]
        assert reserved <= data["available_kv_cache_gpu_memory_bytes"]
        assert data["wasted_fraction"] == pytest.approx(0.42309028)
        assert all(data["planner_input_coverage"].values())
        blocks[data["num_blocks"]] = type(notes)
    assert blocks == {329: RuntimeNotes, 214: PlannerNotes, 360: PlannerNotes, 183: PlannerNotes}


def test_the_figures_of_zamba2() -> None:
    data = report(zamba2(), None)
    assert data["observed_reserved_bytes"] == 2910781440
    assert data["observed_useful_bytes"] == data["cachepawl_recommended_bytes"] == 1679258112
    assert data["advisory_savings_bytes"] == 1231523328
    assert data["overestimation_ratio"] == 1.7333734577189286
    assert data["wasted_fraction"] == 0.4230902777777778


def test_by_hand() -> None:
    # 2 tensors of 20 pages of 100 bytes; one layer of each of 4 groups: 100 + 3 * 60.
    data = report(plan())
    assert data["observed_reserved_bytes"] == 4000
    assert data["observed_useful_bytes"] == 280 * 20
    assert data["advisory_savings_bytes"] == -1600
    assert data["overestimation_ratio"] == 4000 / 5600
    assert data["wasted_fraction"] == 0.0  # held at 0: useful is more than reserved
    assert data["available_kv_cache_gpu_memory_bytes"] == 5000
    mamba = data["group_advisories"][1]
    assert mamba["estimated_bytes"] == 100 * 2 * 20
    assert mamba["wasted_fraction"] == 0.4
    assert data["dry_run"]["group_proposals"][1]["proposed_savings_bytes"] == 40 * 2 * 20
    assert data["contradictions"] == []


def test_without_notes_memory_is_null_and_not_covered() -> None:
    data = report(plan(), None)
    assert data["available_kv_cache_gpu_memory_bytes"] is None
    assert data["planner_input_coverage"]["available_kv_cache_gpu_memory"] is False
    assert data["classification"] == "planner_advisory_available"


def test_of_several_workers_the_one_with_least_memory_counts() -> None:
    notes = PlannerNotes.model_validate(planner_notes())
    assert report(plan(), notes)["available_kv_cache_gpu_memory_bytes"] == 4500
    none = PlannerNotes.model_validate({"available_memory": []})
    assert report(plan(), none)["available_kv_cache_gpu_memory_bytes"] is None


@pytest.mark.parametrize(
    ("field", "value", "nulls"),
    [
        ("num_blocks", None, {"observed_useful_bytes", "wasted_fraction", "overestimation_ratio"}),
        ("total_useful_bytes", None, {"observed_useful_bytes", "wasted_fraction"}),
        ("total_useful_bytes", 0, {"overestimation_ratio"}),
        ("groups", [], set()),
        ("tensors", [], {"observed_reserved_bytes", "wasted_fraction", "overestimation_ratio"}),
        ("tensors", [{"size_bytes": 0, "shared_by": []}], {"wasted_fraction"}),
    ],
)
def test_a_missing_figure_is_null(field: str, value: object, nulls: set[str]) -> None:
    data = report(plan() | {field: value})
    assert {name for name in nulls if data[name] is None} == nulls
    known = value == 0 or bool(value)
    wanted = "planner_advisory_available" if known else "insufficient_data"
    assert data["classification"] == wanted
    assert wanted in data["classifications"]
    assert data["exact"]["unavailable"] or field == "total_useful_bytes"


def test_a_group_says_what_it_lacks() -> None:
    value = plan()
    value["groups"][1]["cache_spec"]["useful_bytes"] = None
    data = report(value)
    assert data["group_advisories"][1]["missing_fields"] == ["useful_bytes"]
    assert data["group_advisories"][1]["wasted_fraction"] is None
    assert data["planner_input_coverage"]["per_group_useful_bytes"] is False
    assert data["planner_input_coverage"]["per_group_page_size_bytes"] is True


def test_counts_that_are_not_given_are_counted() -> None:
    value = plan()
    for name in ("group_count", "layer_count", "attention_group_count", "mamba_group_count"):
        del value[name]
    del value["groups"][0]["layer_count"], value["groups"][0]["group_index"]
    data = report(value)
    assert (data["cache_group_count"], data["layer_count"]) == (4, 8)
    assert data["planner_input_coverage"]["layer_count"] is False
    assert data["group_advisories"][0]["group_index"] == 0
    assert data["contradictions"] == []


@given(
    reserved=st.lists(st.integers(0, 1 << 60), max_size=4),
    useful=st.none() | st.integers(0, 1 << 60),
    blocks=st.none() | st.integers(0, 1 << 40),
)
def test_the_fraction_stays_within_0_and_1(reserved, useful, blocks) -> None:
    value = plan() | {"total_useful_bytes": useful, "num_blocks": blocks}
    value["tensors"] = [{"size_bytes": size, "shared_by": []} for size in reserved]
    data = report(value)
    wasted, savings = data["wasted_fraction"], data["advisory_savings_bytes"]
    assert (wasted is None) == (useful is None or blocks is None or not sum(reserved))
    assert wasted is None or 0 <= wasted <= 1
    assert wasted is None or (wasted > 0) == (savings > 0)
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"group_count": 5}, "group_count is 5 but the number of groups is 4"),
        ({"layer_count": 9}, "layer_count is 9"),
        ({"mamba_group_count": 1}, "mamba_group_count is 1 but the groups' number is 3"),
        ({"total_useful_bytes": 281}, "total_useful_bytes is 281 but the sum over the groups is"),
        ({"total_page_size_bytes": 1}, "total_page_size_bytes is 1"),
        ({"num_blocks": 21}, "num_blocks of the notes is 20 but num_blocks of the plan is 21"),
        ({"tensors": []}, "kv_cache_tensor_count is 2"),
        ({"groups": plan(mamba=2)["groups"]}, "kv_cache_group_count is 4"),
        (
            {"tensors": [{"size_bytes": 4000, "shared_by": []}, {"size_bytes": 4000}]},
            "the tensors have 8000 bytes but 5000 were available",
        ),
    ],
)
def test_contradictions_are_named(edit: dict[str, Any], words: str) -> None:
    lines = report(plan() | edit)["contradictions"]
    assert any(words in line for line in lines), lines


def test_contradictions_of_the_planner_are_named() -> None:
    notes = planner_notes(19) | {
        "planner_matches_runtime_scheduler": False,
        "runtime_changed_during_replay": True,
        "runtime_num_blocks_after_replay": 20,
    }
    lines = report(plan(), PlannerNotes.model_validate(notes))["contradictions"]
    assert len(lines) == 5, lines
