"""The rules behind the findings, asked of SGLang's own code in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imported
import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.checks import verdict_of
from cachepawl.offline.sglang.findings.host import host_pools
from cachepawl.offline.sglang.findings.inert import INERT
from cachepawl.offline.sglang.findings.refused import REFUSED
from cachepawl.offline.sglang.findings.rules import Rule
from cachepawl.offline.sglang.flags import parse_flags
from cachepawl.offline.sglang.inputs.gather import Inputs, gather
from cachepawl.offline.sglang.memory import settle
from cachepawl.offline.sglang.report import case_of
from cachepawl_launch.cpu.tiny import make_tiny

MODELS = Path(__file__).parents[4] / "build" / "models"
LATER = ("lazy slots without overlap scheduling", "layer-first host memory for states")
"""Refused after arguments are resolved, where pools are made."""
TRITON = ("unified memory with this draft", "int8 states with unified memory")
"""Examples that need attention kernels which unified memory takes."""
FAMILIES = ("nemotron_h", "qwen3_5", "lfm2")
SETTINGS = (
    "--page-size 1",
    "--page-size 16",
    "--page-size 128 --mamba-track-interval 384",
    "--page-size 16 --mamba-track-interval 96",
    "--page-size 16 --disable-overlap-schedule",
    "--disable-overlap-schedule",
    "--mamba-radix-cache-strategy extra_buffer_lazy",
    "--linear-attn-backend flashinfer",
    "--disable-radix-cache",
)
CHANGED = {
    "host fraction beside a host ratio or size": ("hicache_host_memory_fraction", None),
    "layout of the host tier with direct copies": ("hicache_mem_layout", "page_first_direct"),
    "copies of the host tier with a direct layout": ("hicache_io_backend", "direct"),
    "write back to a host buffer": ("hicache_write_policy", "write_through"),
    "overlap scheduling with this linear-attention backend": ("disable_overlap_schedule", True),
}
"""What SGLang makes of the flags of a rule."""
PROMPTS = [(256, 1000), (64, 640), (250, 1000), (48, 300), (256, 320), (256, 40)]
"""Prefill chunk and prompt."""


def flags_in(example: str) -> list[str]:
    words = shlex.split(example)
    return words[next(i for i, word in enumerate(words) if word.startswith("--")) :]


def start_job(rule: Rule) -> dict[str, Any]:
    words = flags_in(rule.example)
    if rule.name in TRITON:
        words += ["--attention-backend", "triton"]
    return {"ask": "start", "family": "nemotron_h", "words": words, "fields": rule.fields}


JOBS: dict[str, dict[str, Any]] = {
    **{f"start {rule.name}": start_job(rule) for rule in (*REFUSED, *INERT)},
    **{
        f"rules {family} {flags}": {"ask": "rules", "family": family, "words": flags.split()}
        for family in FAMILIES
        for flags in SETTINGS
    },
    **{
        f"limit {slots}": {
            "ask": "limit",
            "family": "nemotron_h",
            "words": ["--max-mamba-cache-size", str(slots), "--max-running-requests", "13"],
            "tokens": 100_000,
        }
        for slots in (4, 64, 65, 200)
    },
    **{
        f"snapshots {chunk} {prompt}": {
            "ask": "snapshots",
            "family": "nemotron_h",
            "words": ["--page-size", "16", "--chunked-prefill-size", str(chunk)],
            "prompt": prompt,
        }
        for chunk, prompt in PROMPTS
    },
    **{
        f"branch {chunk}": {
            "ask": "snapshots",
            "family": "nemotron_h",
            "words": ["--page-size", "16", "--chunked-prefill-size", str(chunk)],
            "prompt": 1000,
            "branch": 576,
        }
        for chunk in (256, 250)
    },
    "host ratio": {
        "ask": "host", "tokens": 1000, "ratio": 1.5, "size": 0, "entry": 10, "page": 16,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def sglang(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every job's answer."""
    out = tmp_path_factory.mktemp("sglang") / "answers.json"
    script = Path(__file__).with_name("sglang_answers.py")
    jobs = out.with_name("jobs.json")
    jobs.write_text(json.dumps(list(JOBS.values())))
    done = imported.run([str(script), str(jobs), str(out)], os.environ, out.parent)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(JOBS, json.loads(out.read_text()), strict=True))


def tiny_case(family: str, flags: str) -> Case:
    """A tiny model under flags, read as the command does."""
    model = str(make_tiny(family, MODELS))
    return case_of(gather(Inputs(model=model, flags=flags)))


def found(case: Case, id: str, name: str) -> bool:
    return any(f.id == id and f.title.endswith(name) for f in verdict_of(case).findings)


def speaks(rule: Rule, id: str) -> bool:
    model = "qwen3" if "without states" in rule.name else "nemotron_h"
    return found(tiny_case(model, rule.example), id, rule.name)


@pytest.mark.parametrize("rule", REFUSED, ids=lambda r: r.name)
def test_h13_is_refused(sglang: dict[str, Any], rule: Rule) -> None:
    assert speaks(rule, "H13")
    assert not found(tiny_case("nemotron_h", "--page-size 16"), "H13", rule.name)
    answer = sglang[f"start {rule.name}"]
    assert ("refused" in answer) is (rule.name not in LATER), answer


@pytest.mark.parametrize("rule", INERT, ids=lambda r: r.name)
def test_h9_is_accepted(sglang: dict[str, Any], rule: Rule) -> None:
    """The server starts and says nothing; some flags have other values then."""
    assert speaks(rule, "H9")
    assert not found(tiny_case("nemotron_h", "--page-size 16"), "H9", rule.name)
    runs = sglang[f"start {rule.name}"]["runs"]
    if rule.name in CHANGED:
        field, value = CHANGED[rule.name]
        assert runs[field] == value


@pytest.mark.parametrize("flags", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_slots_and_grids(sglang: dict[str, Any], family: str, flags: str) -> None:
    answer, case = sglang[f"rules {family} {flags}"], tiny_case(family, flags)
    if "refused" in answer:
        assert any(f.id == "H13" for f in verdict_of(case).findings), answer
        return
    assert case.slots_reserved == answer["slots_reserved"]
    if case.tracked:
        assert (case.grid, case.track_grid) == (answer["grid"], answer["track_grid"])


@pytest.mark.parametrize("flags", SETTINGS)
def test_slots_as_the_plans_have_them(flags: str) -> None:
    case = tiny_case("nemotron_h", flags)
    assert case.spec is not None
    settled = settle(case.spec, parse_flags(flags))
    assert case.slots_held == settled.states_per_request
    assert case.slots_reserved == settled.slots_per_request


@pytest.mark.parametrize("slots", [4, 64, 65, 200])
def test_h6_limit(sglang: dict[str, Any], make: Callable[..., Case], slots: int) -> None:
    limit = sglang[f"limit {slots}"]
    case = make("--max-running-requests 13", state_slots=slots)
    findings = [f for f in verdict_of(case).findings if f.id == "H6"]
    assert bool(findings) is (limit < 13)
    assert all(f.numbers["cap"] == limit for f in findings)


@pytest.mark.parametrize(("chunk", "prompt"), PROMPTS)
def test_h1_states_of_a_prompt(
    sglang: dict[str, Any], make: Callable[..., Case], chunk: int, prompt: int
) -> None:
    depths = sglang[f"snapshots {chunk} {prompt}"]
    case = make("--page-size 16", chunk_tokens=chunk)
    assert case.states_of(prompt, 1) == len(depths)


def test_h14_branches(sglang: dict[str, Any], make: Callable[..., Case]) -> None:
    """A chunk off the grid cannot take the state of a branch point on it."""
    assert 576 in sglang["branch 256"]
    assert 576 not in sglang["branch 250"]
    off = [depth % 64 for depth in sglang["branch 250"]]
    assert any(off)
    titles = {
        chunk: [f for f in verdict_of(make("--page-size 16", chunk_tokens=chunk)).findings
                if f.id == "H14"]
        for chunk in (256, 250)
    }  # fmt: skip
    assert titles[256] == []
    assert titles[250]


def test_h3_host_pool(sglang: dict[str, Any], make: Callable[..., Case]) -> None:
    flags = "--enable-hierarchical-cache --hicache-ratio 1.5 --page-size 16"
    tokens, _ = host_pools(make(flags, kv_tokens=1000, state_slots=1))
    assert tokens == sglang["host ratio"]
