"""Several replays: the same in one process and in many, and bounds that bind."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import GRID, REQUESTS, request, scenario, write_trace

from cachepawl.errors import InputError
from cachepawl.offline.replay.lines import BOUNDS, line_of, wanted_lines
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source, facts_of
from cachepawl.offline.replay.sweep import Found, Sweep, run
from cachepawl.offline.replay.ways import grid_of
from cachepawl.offline.traces.request import TraceRequest


def scenarios() -> list[Scenario]:
    made = scenario("mamba", 2000, page=64, grid=512, chunk=1024)
    return [made, replace(made, budget=2 * made.budget)]


def without_clocks(found: Found) -> Found:
    return found._replace(outcomes=[one._replace(seconds=0.0) for one in found.outcomes])


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    source = Source(write_trace(tmp_path / "t.jsonl"))
    sweep = Sweep(source, scenarios(), list(BOUNDS))
    ticks: list[int] = []
    alone = run(sweep, 1, ticks.append)
    assert sum(ticks) == 80
    ticks.clear()
    assert without_clocks(run(sweep, 2, ticks.append)) == without_clocks(alone)
    assert sum(ticks) == 80
    assert [one.total.requests for one in alone.outcomes] == [40, 40]


def test_an_error_in_a_process_is_the_callers(tmp_path: Path) -> None:
    sweep = Sweep(Source(tmp_path / "missing.jsonl"), scenarios(), [])
    with pytest.raises(InputError, match=r"missing\.jsonl"):
        run(sweep, 2)


def test_nothing_is_read_for_scenarios_that_do_not_fit(tmp_path: Path) -> None:
    sweep = Sweep(Source(tmp_path / "missing.jsonl"), [replace(scenarios()[0], budget=9)], [])
    with pytest.raises(InputError, match="--device-gb"):
        run(sweep)


def test_facts_and_limit(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl")
    facts = facts_of(Source(path))
    assert (facts.requests, facts.block_tokens, facts.seconds) == (40, 512, 39.0)
    assert facts.longest_prompt == 512 * 17 - 100
    assert facts_of(Source(path, limit=7)).requests == 7
    path.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        facts_of(Source(path))


class Listed(Source):
    """A source that has its requests, of known tokens, at hand."""

    made: list[TraceRequest]

    def open(self) -> Any:
        return SimpleNamespace(block_tokens=1)

    def requests(self, tick: object = None) -> Iterator[TraceRequest]:
        return iter(self.made)


@given(requests=REQUESTS, more=st.integers(0, 12), running=st.integers(1, 3))
@settings(max_examples=80)
def test_no_replay_passes_a_bound(requests: list[TraceRequest], more: int, running: int) -> None:
    source = Listed(Path("listed"))
    source.made = requests
    for kind, dtype in (("mamba", "auto"), ("mamba", "int8"), ("attention", "auto")):
        wanted = scenario(kind, 5 + more, running=running, check_level=2, checkpoint_dtype=dtype)
        hit = {name: line_of(name, source, wanted).hit for name in BOUNDS}
        assert hit["endless memory"] == by_brute_force(requests, GRID if kind == "mamba" else 4)
        for reached in (replay(wanted, requests).total.hit, hit["clairvoyant"]):
            assert reached <= hit["endless memory"]
            assert reached <= hit["upper bound"]


@pytest.mark.parametrize(("page", "block"), [(48, 512), (7, 512), (768, 512), (24, 16), (3, 2)])
def test_blocks_that_are_not_whole_pages_are_refused(page: int, block: int) -> None:
    says = f"--page {page}: the trace's blocks of {block} tokens are not whole pages; give a page "
    with pytest.raises(InputError, match=f"^{says}size that divides {block}, or whole blocks$"):
        grid_of(scenario().spec, page, block)


@pytest.mark.parametrize(
    ("page", "block", "grid"),
    [(48, 1, 192), (16, 16, 64), (1, 512, 512), (512, 512, 512), (64, 16, 64), (1024, 512, 1024)],
)
def test_states_are_on_whole_blocks(page: int, block: int, grid: int) -> None:
    assert grid_of(scenario().spec, page, block) == grid


def test_lines_are_by_budget_or_flat() -> None:
    source = Listed(Path("listed"))
    source.made = [request(range(99))] * 3
    asked = wanted_lines(list(BOUNDS), [scenario(), *scenarios(), scenario()])
    lines = [line_of(name, source, one) for name, one in asked]
    budgets = {name: [line.budget for line in lines if line.name == name] for name in BOUNDS}
    assert budgets["endless memory"] == [None]
    assert budgets["upper bound"] == [scenario().budget, *(one.budget for one in scenarios())]


def test_lines_are_by_how_states_are_stored() -> None:
    arenas = [scenario("mamba", 40, checkpoint_dtype=dtype) for dtype in ("auto", "int8")]
    asked = wanted_lines(["upper bound", "endless memory"], arenas)
    source = Listed(Path("listed"))
    source.made = [request(range(100 * i, 100 * i + 20)) for i in range(60)] * 2
    lines = [line_of(name, source, one) for name, one in asked]
    assert [line.label for line in lines] == ["upper bound", "upper bound, int8", "endless memory"]
    assert lines[0].hit < lines[1].hit <= lines[2].hit


def by_brute_force(requests: list[TraceRequest], step: int) -> int:
    known: set[tuple[int, ...]] = set()
    hit = 0
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        hit += max(n for n in range(0, len(text), step) if n == 0 or text[:n] in known)
        known |= {text[:n] for n in range(step, len(text) + 1, step)}
    return hit
