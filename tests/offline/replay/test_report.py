"""What people and programs are shown is what was found, and pages draw themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import drawn_page, plots_in
from tiny_replays import scenario, write_trace

from cachepawl.offline.document import Plot, Report, Table
from cachepawl.offline.render import to_html, to_json, to_markdown
from cachepawl.offline.replay.lines import BOUNDS
from cachepawl.offline.replay.outcome import Outcome
from cachepawl.offline.replay.report import replay_report
from cachepawl.offline.replay.source import Source, facts_of
from cachepawl.offline.replay.sweep import Found, Sweep, run


class Made:
    """Two budgets, one of which is short."""

    def __init__(self, path: Path) -> None:
        self.source = Source(write_trace(path, requests=80))
        small = scenario("mamba", 600, page=64, grid=512, chunk=1024, running=2)
        sweep = Sweep(self.source, [small, replace(small, budget=4 * small.budget)], list(BOUNDS))
        self.facts = facts_of(self.source)
        self.found: Found = run(sweep)
        outcomes, lines = self.found
        self.report: Report = replay_report(self.source, self.facts, outcomes, lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("replay") / "trace.jsonl")


def plot(made: Made, title: str) -> dict[str, Any]:
    (found,) = [b for b in made.report.document.blocks if isinstance(b, Plot) and b.title == title]
    return found.figure


def test_json_holds_every_number(made: Made) -> None:
    data = json.loads(to_json(made.report.data))
    assert data["trace"]["requests"] == 80
    for one, outcome in zip(data["replays"], made.found.outcomes, strict=True):
        windows = one["windows"]
        assert one["hit_tokens"] + sum(one["missed_tokens"].values()) == one["prompt_tokens"]
        assert sum(windows["hit_tokens"]) == one["hit_tokens"] == outcome.total.hit
        assert sum(windows["requests"]) == one["requests"] == 80
        for reason, tokens in windows["missed_tokens"].items():
            assert sum(tokens) == one["missed_tokens"][reason]
        held = sum(one["mean_bytes"].values())
        assert abs(held - one["device_bytes"]) <= len(one["mean_bytes"])
    short, ample = data["replays"]
    assert short["evicted_tokens"] > ample["evicted_tokens"]
    bounds = {(one["name"], one["device_bytes"]): one["hit_tokens"] for one in data["bounds"]}
    for one in (short, ample):
        assert one["hit_tokens"] <= bounds["upper bound", one["device_bytes"]]
        assert one["hit_tokens"] <= bounds["endless memory", None]


def test_layers_add_up_to_the_budget_and_to_all_tokens(made: Made) -> None:
    memory, reasons = plot(made, "Where did my memory go?"), plot(made, "Why did I miss?")
    for i, outcome in enumerate(made.found.outcomes):
        budget = outcome.scenario.budget / (1 << 30)
        rates = [100 * window.hit_rate for window in outcome.windows]
        assert stacked(memory, i) == pytest.approx([budget] * len(rates), abs=1e-3)
        computed = stacked(reasons, i)
        sums = [a + b for a, b in zip(computed, rates, strict=True)]
        assert sums == pytest.approx([100] * len(rates), abs=0.1)


def stacked(figure: dict[str, Any], choice: int) -> list[float]:
    """The top of the layers that a choice of the menu shows."""
    (menu,) = figure["layout"]["updatemenus"]
    shown = menu["buttons"][choice]["args"][1]
    assert len(shown) == len(figure["data"])
    layers = [trace["y"] for trace, on in zip(figure["data"], shown, strict=True) if on]
    return [sum(column) for column in zip(*layers, strict=True)]


def test_more_memory(made: Made) -> None:
    lines = {trace["name"]: trace for trace in plot(made, "What would more memory buy?")["data"]}
    assert set(lines) == {"lru", *BOUNDS}
    short, ample = made.found.outcomes
    rates = [round(100 * one.total.hit_rate, 3) for one in (short, ample)]
    assert lines["lru"]["y"] == rates
    for name in ("upper bound", "endless memory"):
        assert all(top >= rate for top, rate in zip(lines[name]["y"], rates, strict=True))


def test_tables(made: Made) -> None:
    hits, misses, memory = [b for b in made.report.document.blocks if isinstance(b, Table)]
    first: Outcome = made.found.outcomes[0]
    assert hits.rows[0][3] == first.total.hit
    assert [row[0] for row in hits.rows[2:]] == [*["clairvoyant"] * 2, *["upper bound"] * 2,
                                                 "endless memory"]  # fmt: skip
    assert hits.rows[-1][1] == "any"
    for table in (misses, memory):
        for row in table.rows:
            shares = [float(str(c)[:-2]) for c in row if str(c).endswith("%")]
            assert sum(shares) == pytest.approx(100, abs=0.06)
    text = to_markdown(made.report.document)
    assert "blocks of 512 tokens" in text
    assert "trace.jsonl (mooncake), 80 requests" in text


def test_how_states_are_stored_stands_beside_the_policy(made: Made) -> None:
    small = made.found.outcomes[0].scenario
    sweep = Sweep(made.source, [small, replace(small, checkpoint_dtype="int8")], [])
    outcomes, lines = run(sweep)
    report = replay_report(made.source, made.facts, outcomes, lines)
    hits = next(b for b in report.document.blocks if isinstance(b, Table))
    assert [row[0] for row in hits.rows] == ["lru", "lru, int8"]
    plain, int8 = report.data["replays"]
    assert (plain["checkpoint_dtype"], int8["checkpoint_dtype"]) == ("auto", "int8")
    # Pages of 64 tokens make frames that are larger than a state.
    assert (plain["kept_states_per_frame"], int8["kept_states_per_frame"]) == (1, 6)
    said = f"in int8: {outcomes[1].scenario.geometry.kept_bytes:,} bytes, 6 a frame"
    assert said in to_markdown(report.document)


def test_the_page_draws_itself(made: Made, tmp_path: Path) -> None:
    dom = drawn_page(to_html(made.report.document), tmp_path)
    assert plots_in(dom) == 5
