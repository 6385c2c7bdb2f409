"""Several replays: the same in one process and in many, and bounds that bind."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from tiny_replays import GRID, REQUESTS, scenario, write_trace

from cachepawl.errors import InputError
from cachepawl.offline.replay.lines import BOUNDS, line_of
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source, facts_of
from cachepawl.offline.replay.sweep import Found, Sweep, run
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
    """A source that has its requests at hand."""

    made: list[TraceRequest]

    def requests(self, tick: object = None) -> list[TraceRequest]:  # type: ignore[override]
        return self.made


@given(REQUESTS)
@settings(max_examples=80)
def test_no_replay_hits_more_than_endless_memory(requests: list[TraceRequest]) -> None:
    source = Listed(Path("listed"))
    source.made = requests
    for kind in ("mamba", "attention"):
        wanted = scenario(kind)
        name, budget, hit = line_of("endless memory", source, wanted)
        assert (name, budget) == ("endless memory", None)
        step = GRID if kind == "mamba" else 4
        assert hit == by_brute_force(requests, step)
        assert replay(wanted, requests).total.hit <= hit
        assert replay(replace(wanted, running=3), requests).total.hit <= hit


def by_brute_force(requests: list[TraceRequest], step: int) -> int:
    known: set[tuple[int, ...]] = set()
    hit = 0
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        hit += max(n for n in range(0, len(text), step) if n == 0 or text[:n] in known)
        known |= {text[:n] for n in range(step, len(text) + 1, step)}
    return hit
