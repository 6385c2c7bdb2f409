"""The plan's rows, and that data and document tell the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cachepawl.offline.plan.places import Place
from cachepawl.offline.render import to_html, to_json, to_markdown
from cachepawl.offline.sglang.flags import parse_flags
from cachepawl.offline.sglang.inputs.gather import Inputs
from cachepawl.offline.sglang.inputs.planned import Memory
from cachepawl.offline.sglang.memory import arena_plan, static_plan, unified_plan
from cachepawl.offline.sglang.memory.budget import GIB, rest_budget
from cachepawl.offline.sglang.report import diagnose
from cachepawl.specs.presets import preset

MODEL = "Qwen3-Next-80B-A3B-Instruct"
LEFT = Memory(Place("20 GiB left", None, 20 * GIB))
SPLIT = {"ratio", "state_pool_bytes", "slots_for_cache", "kv_bytes"}


def report(flags: str, **workload: float):
    return diagnose(Inputs(model=MODEL, flags=flags, memory=LEFT, workload=workload))


def test_static_plan() -> None:
    data = report("--page-size 64 --chunked-prefill-size 8192")[0].data
    plan = data["plan"]
    flags = parse_flags("--page-size 64 --context-length 262144")
    expected = static_plan(preset(MODEL).spec(), flags, rest_budget(20 * GIB))
    assert plan["kv_tokens"] == expected.kv_tokens
    assert plan["kv_bytes"] == expected.kv_bytes
    assert plan["state_pool_bytes"] == expected.states.bytes
    assert plan["running_limit"] == expected.max_running_requests
    assert plan["kv_bytes"] + plan["state_pool_bytes"] <= 20 * GIB
    assert [row["context"] for row in data["contexts"]] == [1024, 4096, 16384, 65536, 262144]


@pytest.mark.parametrize("flags", ["--enable-unified-memory", "--cachepawl-policy lru"])
def test_one_budget_has_no_split(flags: str) -> None:
    data = report(f"{flags} --page-size 64")[0].data
    assert not SPLIT & data["plan"].keys()
    assert data["contexts"] == []
    assert data["plan"]["kv_tokens"] > 0


def test_arena_plan() -> None:
    data = report("--cachepawl-policy lru --page-size 64")[0].data
    flags = parse_flags("--page-size 64")
    plan = arena_plan(preset(MODEL).spec(), flags, rest_budget(20 * GIB))
    assert data["plan"]["kv_tokens"] == plan.most_tokens
    assert data["plan"]["state_slots"] == plan.most_states
    assert data["plan"]["running_limit"] == plan.max_running_requests


def test_data_and_document_agree() -> None:
    made, verdict = report("--page-size 64 --int8-mamba-ckpt-size 7", concurrency=100)
    markdown = to_markdown(made.document)
    assert json.loads(to_json(made.data))["worst"] == verdict.worst.label == "warning"
    assert "<table" in to_html(made.document)
    for finding in made.data["findings"]:
        assert finding["title"] in markdown
        assert finding["arithmetic"] in markdown
        assert finding["link"] in markdown
    for row in made.data["not_checked"]:
        assert row["needs"] in markdown


def test_the_three_layouts_side_by_side() -> None:
    made = report("--page-size 64")[0]
    static, unified, arena = made.data["layouts"]
    flags = parse_flags("--page-size 64 --context-length 262144")
    spec, budget = preset(MODEL).spec(), rest_budget(20 * GIB)
    split = static_plan(spec, flags, budget)
    assert (static["kv_tokens"], static["states"]) == (split.kv_tokens, split.state_slots)
    assert static["bytes"] == split.used_bytes
    both = unified_plan(spec, flags, budget)
    assert (unified["kv_tokens"], unified["states"]) == (both.most_tokens, both.most_states)
    ours = arena_plan(spec, flags, budget)
    assert (arena["kv_tokens"], arena["states"]) == (ours.most_tokens, ours.most_states)
    assert arena["bytes"] == 20 * GIB
    assert f"{ours.most_tokens:,}" in to_markdown(made.document)


def test_a_layout_that_does_not_go_says_why() -> None:
    made = report("--page-size 64 --disable-radix-cache")[0]
    arena = made.data["layouts"][2]
    assert arena["kv_tokens"] is None
    assert "--disable-radix-cache" in arena["why_not"]
    assert arena["why_not"] in to_markdown(made.document)


def test_without_bytes_there_is_nothing_side_by_side() -> None:
    made = diagnose(Inputs(model=MODEL, flags="--page-size 64"))[0]
    assert made.data["layouts"] == []


def test_a_running_servers_pools_are_the_bytes(tmp_path: Path) -> None:
    split = static_plan(preset(MODEL).spec(), parse_flags("--page-size 64"), rest_budget(20 * GIB))
    metrics = tmp_path / "metrics"
    metrics.write_text(
        f"sglang:max_total_num_tokens {split.kv_tokens}\n"
        f"sglang:mamba_used_tokens 0\nsglang:mamba_evictable_tokens 6\n"
        f"sglang:mamba_available_tokens {split.state_slots - 6}\n"
    )
    made = diagnose(Inputs(model=MODEL, flags="--page-size 64", metrics=metrics))[0]
    static, _, arena = made.data["layouts"]
    assert (static["kv_tokens"], static["states"]) == (split.kv_tokens, split.state_slots)
    assert arena["bytes"] == static["bytes"] == split.used_bytes
