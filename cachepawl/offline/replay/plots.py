"""The plots of a replay, each an answer to a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from cachepawl.offline.document import Plot
from cachepawl.offline.replay.figures import Figure, Trace, figure, layers, line, switched
from cachepawl.offline.replay.lines import Line
from cachepawl.offline.replay.measures import Window
from cachepawl.offline.replay.occupancy import NAMES
from cachepawl.offline.replay.outcome import Outcome
from cachepawl.offline.replay.scenario import GIB
from cachepawl.tree import Reason

Thing = TypeVar("Thing")
ABOUT_LINES = (
    "`clairvoyant` is this cache under a policy that knows the trace; `upper bound` is what no "
    "cache of so many bytes can pass, `endless memory` what none can with these pages and states."
)


def label(outcome: Outcome) -> str:
    """A scenario in a menu or a legend."""
    return f"{outcome.scenario.label}, {outcome.scenario.budget / GIB:g} GiB"


def plots(outcomes: Sequence[Outcome], lines: Sequence[Line], prompt_tokens: int) -> list[Plot]:
    """All plots, in the order that a reader asks.  `prompt_tokens`: of the whole trace."""
    timed = any(outcome.total.last_at > outcome.total.first_at for outcome in outcomes)
    x_title = "minutes" if timed else "requests"
    x_of = _minutes if timed else _requests

    def over_time(y_title: str, traces: Callable[[Outcome, list[float]], list[Trace]]) -> Figure:
        choices = {label(o): traces(o, x_of(o.windows)) for o in outcomes}
        return switched(choices, x_title, y_title)

    rates = [
        line(label(o), x_of(o.windows), [100 * w.hit_rate for w in o.windows]) for o in outcomes
    ]
    found = [
        Plot("Where did my memory go?", over_time("GiB", _memory),
             "Means over windows of equally many requests; they add up to the budget."),
        Plot("Why did I miss?", over_time("% of prompt tokens", _reasons),
             "Tokens computed, by reason; what is missing to 100 % was hit."),
        Plot("What was evicted, and when?", over_time("GiB per request", _evictions)),
        Plot("Hit rate over time", figure(rates, x_title, "% of prompt tokens")),
    ]  # fmt: skip
    if len({o.scenario.budget for o in outcomes}) > 1:
        found.insert(2, _more_memory(outcomes, lines, prompt_tokens))
    return found


def _grouped(
    things: Sequence[Thing], name: Callable[[Thing], str]
) -> list[tuple[str, list[Thing]]]:
    """Things by name, in the order of the names' first appearance."""
    groups: dict[str, list[Thing]] = {}
    for thing in things:
        groups.setdefault(name(thing), []).append(thing)
    return list(groups.items())


def _minutes(windows: Sequence[Window]) -> list[float]:
    return [round((w.first_at + w.last_at) / 120, 4) for w in windows]


def _requests(windows: Sequence[Window]) -> list[float]:
    done, out = 0, []
    for window in windows:
        done += window.requests + window.refused
        out.append(float(done))
    return out


def _memory(outcome: Outcome, x: list[float]) -> list[Trace]:
    means = [window.mean_occupancy() for window in outcome.windows]
    return layers(
        x, {NAMES[f]: [round(getattr(m, f) / GIB, 4) for m in means] for f in means[0]._fields}
    )


def _reasons(outcome: Outcome, x: list[float]) -> list[Trace]:
    return layers(
        x,
        {
            reason.value: [round(100 * w.missed[reason.value] / max(w.prompt, 1), 3)
                           for w in outcome.windows]
            for reason in Reason
        },
    )  # fmt: skip


def _evictions(outcome: Outcome, x: list[float]) -> list[Trace]:
    geometry = outcome.scenario.geometry
    sizes = {"KV": ("evicted_tokens", geometry.entry_bytes),
             "states": ("evicted_states", geometry.kept_bytes)}  # fmt: skip
    return layers(
        x,
        {
            name: [round(getattr(w, field) * size / max(w.requests, 1) / GIB, 5)
                   for w in outcome.windows]
            for name, (field, size) in sizes.items()
        },
    )  # fmt: skip


def _more_memory(outcomes: Sequence[Outcome], lines: Sequence[Line], prompt_tokens: int) -> Plot:
    budgets = sorted({o.scenario.budget for o in outcomes})
    traces = [
        _rates(policy, [(o.scenario.budget, o.total.hit_rate) for o in some], "solid")
        for policy, some in _grouped(outcomes, lambda o: o.scenario.label)
    ]
    for name, found in _grouped(lines, lambda one: one.label):
        points = [
            (budget, one.hit / max(prompt_tokens, 1))
            for one in found
            for budget in (budgets if one.budget is None else [one.budget])
        ]
        traces.append(_rates(name, points, "dot"))
    drawn = figure(traces, "GiB", "% of prompt tokens hit")
    drawn["layout"]["xaxis"] |= {
        "type": "log",
        "tickvals": [budget / GIB for budget in budgets],
        "ticktext": [f"{budget / GIB:g}" for budget in budgets],
    }
    return Plot("What would more memory buy?", drawn, f"Dotted lines: {ABOUT_LINES}")


def _rates(name: str, points: list[tuple[int, float]], dash: str) -> Trace:
    """Hit rates by budget."""
    points = sorted(points)
    x = [budget / GIB for budget, _ in points]
    y = [round(100 * rate, 3) for _, rate in points]
    return line(name, x, y, mode="lines+markers", line={"dash": dash})
