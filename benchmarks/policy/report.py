"""The cells for people: one table, one plot."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.policy.inputs import Half
from benchmarks.policy.targets import Group, Row, Target, groups_of
from cachepawl.offline.document import Block, Document, Plot, Table
from cachepawl.offline.replay.figures import Trace, line, switched

UNTIMED = ("bound", "ceiling")


def document(
    rows: Sequence[Row], found: Sequence[Target], half: Half, left_out: Sequence[str]
) -> Document:
    """Everything that a run found.  `left_out`: what was asked for and not played, in words."""
    names = list(dict.fromkeys(row["policy"] for row in rows))
    blocks: list[Block] = [hits(rows, names), times(rows, names)]
    if found:
        blocks.append(target_table(found))
    blocks.append(plot(rows))
    which = {"all": "all conversations", "tuning": "the conversations for tuning",
             "held-out": "the conversations that are held out"}[half]  # fmt: skip
    lead = f"Prompt tokens that come from the cache, {which}."
    if left_out:
        lead += f" Not played: {'; '.join(left_out)}."
    return Document("Policies and SGLang on the same requests", lead, blocks)


def hits(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """A row a place, a column a contender."""
    body = [
        [*_place(place), *(_percent(group, name) for name in names)]
        for place, group in groups_of(rows).items()
    ]
    return Table(["trace", "geometry", "GiB", *names], body, "Token hits, %")


def times(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """The same for CPU time."""
    timed = [name for name in names if name not in UNTIMED]
    body = [
        [*_place(place), *(_us(group, name) for name in timed)]
        for place, group in groups_of(rows).items()
    ]
    return Table(["trace", "geometry", "GiB", *timed], body, "CPU time a request, µs")


def target_table(found: Sequence[Target]) -> Table:
    """What was to be reached, and what was."""
    body = [
        [t.policy, t.name, None if t.number is None else f"{t.number:.3f}", f"{t.limit:g}",
         {True: "yes", False: "no", None: "-"}[t.holds], t.cells, t.worst, t.remark]
        for t in found
    ]  # fmt: skip
    columns = ["policy", "target", "number", "at least", "holds", "cells", "worst", "remark"]
    return Table(columns, body, "Targets")


def plot(rows: Sequence[Row]) -> Plot:
    """Hit rate by budget, a trace and a geometry at a time."""
    choices: dict[str, list[Trace]] = {}
    for row in rows:
        choices.setdefault(f"{row['trace']}, {row['geometry']}", [])
    for choice, traces in choices.items():
        some = [r for r in rows if f"{r['trace']}, {r['geometry']}" == choice and not r["host_gb"]]
        for name in dict.fromkeys(row["policy"] for row in some):
            points = sorted((r["device_gb"], 100 * r["token_hit"]) for r in some
                            if r["policy"] == name)  # fmt: skip
            dash = "dot" if name in ("clairvoyant", *UNTIMED) else "solid"
            x, y = [p[0] for p in points], [round(p[1], 3) for p in points]
            traces.append(line(name, x, y, mode="lines+markers", line={"dash": dash}))
    drawn = switched(choices, "GiB", "% of prompt tokens hit")
    drawn["layout"]["xaxis"] |= {"type": "log"}
    return Plot("Hit rate by budget", drawn)


def _place(place: tuple[str, str, float, float]) -> list[str]:
    trace, model, device, host = place
    return [trace, model, f"{device:g}" + (f" + {host:g}" if host else "")]


def _percent(group: Group, name: str) -> str | None:
    return f"{100 * group[name]['token_hit']:.2f}" if name in group else None


def _us(group: Group, name: str) -> str | None:
    value = group[name]["us_per_request"] if name in group else None
    return None if value is None else f"{value:.0f}"
