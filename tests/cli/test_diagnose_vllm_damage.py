"""`cachepawl diagnose-vllm` over damaged files: one line and nothing written, or a report.

Values dropped, retyped, replaced, doubled or added; files cut or with a byte replaced.
"""

from __future__ import annotations

import copy
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from vllm_command import FILES, REPORT, Done, assert_refused, run_on
from vllm_plans import plan, planner_notes, runtime_notes, written

LEAVES = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 0.5, -0.0, 1e300, 2**53, 2**60, 2**61, -(2**63), 10**30,
     float("nan"), float("inf"), "", "7", "attention", "mamba", "none", "align", "x\ny", "\ud800",
     [], [1], [None], {}, {"a": 1}, [[]], "k" * 5000]
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*at, key))
        if isinstance(item, dict | list):
            found += places(item, (*at, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, original: Any) -> Any:
    """A copy with some values dropped, replaced, doubled or added."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        ways = places(value)
        if not ways:
            break
        *path, last = draw(st.sampled_from(ways))
        holder = value
        for step in path:
            holder = holder[step]
        match draw(st.sampled_from(["drop", "replace", "add", "number"])):
            case "drop":
                del holder[last]
            case "replace":
                holder[last] = copy.deepcopy(draw(LEAVES))
            case "number":
                holder[last] = draw(st.integers(0, 50))
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=3))] = copy.deepcopy(draw(LEAVES))
            case "add":
                holder.append(draw(st.sampled_from([copy.deepcopy(holder[last]), 1, None])))
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, original: Any) -> bytes:
    """The file of a value, cut or with a byte replaced."""
    raw = bytearray(json.dumps(original).encode())
    at = draw(st.integers(0, len(raw) - 1))
    if draw(st.booleans()):
        return bytes(raw[:at])
    raw[at] = draw(st.integers(0, 255))
    return bytes(raw)


def files_of(original: Any) -> st.SearchStrategy[bytes]:
    return damaged_bytes(original) | damaged(original).map(lambda v: json.dumps(v).encode())


OPTIONS = st.lists(
    st.sampled_from(
        [["--mix", "attention=3,mamba=2"], ["--mix", "1=1"], ["--sequence-tokens", "9"],
         ["--accounting", "exact"], ["--fail-on-waste-fraction", "0.1"],
         ["--fail-on-overestimation-ratio", "1.1"], ["--format", "json"]]
    ),
    max_size=3,
    unique_by=lambda words: words[0],
)  # fmt: skip
SOME = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY = settings(SOME, max_examples=1500)


def check_any(done: Done) -> None:
    """A refusal in one line with nothing written, or three good files."""
    if done.code == 2:
        assert_refused(done)
        return
    event(f"report, {done.code}")
    assert done.code in (0, 1)
    assert done.err.count("\n") == done.code
    assert done.files == FILES
    report = REPORT.validate_json((done.folder / "report.json").read_bytes())
    assert report.wasted_fraction is None or 0 <= report.wasted_fraction <= 1
    for mix in (report.exact.best, report.exact.worst, report.exact.given):
        assert mix is None or 0 <= mix.wasted_fraction <= 1
    assert (done.folder / "summary.md").read_text(encoding="utf-8").startswith("# vLLM")


def fresh(tmp_path: Path) -> Path:
    """An output folder of this run alone."""
    number = len(list(tmp_path.iterdir()))
    return tmp_path / f"out{number}"


PLANS = files_of(plan(layers=1, mamba=1))
NOTES = files_of(runtime_notes()) | files_of(planner_notes())


def check_plan(raw: bytes, words: list[list[str]], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(raw)
    check_any(run_on(path, fresh(tmp_path), *chain.from_iterable(words)))


def check_notes(raw: bytes, tmp_path: Path) -> None:
    path, notes = tmp_path / "plan.json", tmp_path / "notes.json"
    if not path.exists():
        written(path, plan())
    notes.write_bytes(raw)
    check_any(run_on(path, fresh(tmp_path), "--raw-safe-metadata", str(notes)))


@SOME
@given(raw=PLANS, words=OPTIONS)
def test_any_damage_to_a_plan(raw: bytes, words: list[list[str]], tmp_path: Path) -> None:
    check_plan(raw, words, tmp_path)


@SOME
@given(raw=NOTES)
def test_any_damage_to_the_notes(raw: bytes, tmp_path: Path) -> None:
    check_notes(raw, tmp_path)


@pytest.mark.stress
@MANY
@given(raw=PLANS, words=OPTIONS)
def test_more_damage_to_a_plan(raw: bytes, words: list[list[str]], tmp_path: Path) -> None:
    check_plan(raw, words, tmp_path)


@pytest.mark.stress
@MANY
@given(raw=NOTES)
def test_more_damage_to_the_notes(raw: bytes, tmp_path: Path) -> None:
    check_notes(raw, tmp_path)


@settings(SOME, max_examples=100)
@given(raw=st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_bytes(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(raw)
    assert_refused(run_on(path, fresh(tmp_path)))
