"""The cells for people: a table of hits, one of FLOPs, one of times, and one plot."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.policy.inputs import Half
from benchmarks.policy.targets import Group, Row, Target, groups_of
from cachepawl.offline.document import Block, Document, Plot, Table
from cachepawl.offline.replay.figures import Trace, line, switched

UNTIMED = ("bound", "ceiling")
MEASURES = {"token_hit": "prompt tokens hit", "flops_saved": "prefill FLOPs saved"}
"""Of a row, shares; and what people call them."""


def document(
    rows: Sequence[Row], found: Sequence[Target], half: Half, left_out: Sequence[str]
) -> Document:
    """Everything that a run found.  `left_out`: what was asked for and not played, in words."""
    names = list(dict.fromkeys(row["policy"] for row in rows))
    blocks: list[Block] = [hits(rows, names), flops(rows, names), times(rows, names)]
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
    return _shares(rows, names, "token_hit", "Token hits, %")


def flops(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """The same for FLOPs of prefilling that hits saved."""
    counted = [name for name in names if name not in UNTIMED]
    return _shares(rows, counted, "flops_saved", "FLOPs of the prefill saved, %")


def _shares(rows: Sequence[Row], names: Sequence[str], measure: str, title: str) -> Table:
    body = [
        [*_place(place), *(_percent(group, name, measure) for name in names)]
        for place, group in groups_of(rows).items()
    ]
    return Table(["trace", "geometry", "GiB", *names], body, title)


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
    """Hits and FLOPs saved by the device's budget: a trace, a geometry and a share of the host
    at a time."""
    choices: dict[str, list[Trace]] = {}
    for where in dict.fromkeys(map(_where, rows)):
        some = [row for row in rows if _where(row) == where]
        for measure, called in MEASURES.items():
            traces = _lines(some, measure)
            if traces:
                choices[f"{where}: {called}"] = traces
    drawn = switched(choices, "GiB on the device", "%")
    drawn["layout"]["xaxis"] |= {"type": "log"}
    return Plot("Hits and FLOPs saved by budget", drawn)


def _where(row: Row) -> str:
    times = row["host_gb"] / row["device_gb"]
    host = f", host of {times:.4g} times the device" if times else ""
    return f"{row['trace']}, {row['geometry']}{host}"


def _lines(rows: Sequence[Row], measure: str) -> list[Trace]:
    """One for each contender that has the measure."""
    drawn = []
    for name in dict.fromkeys(row["policy"] for row in rows):
        points = sorted((r["device_gb"], round(100 * r[measure], 3)) for r in rows
                        if r["policy"] == name and r[measure] is not None)  # fmt: skip
        if points:
            dash = "dot" if name in ("clairvoyant", *UNTIMED) else "solid"
            x, y = map(list, zip(*points, strict=True))
            drawn.append(line(name, x, y, mode="lines+markers", line={"dash": dash}))
    return drawn


def _place(place: tuple[str, str, float, float]) -> list[str]:
    trace, model, device, host = place
    return [trace, model, f"{device:g}" + (f" + {host:g}" if host else "")]


def _percent(group: Group, name: str, measure: str) -> str | None:
    value = group[name][measure] if name in group else None
    return None if value is None else f"{100 * value:.2f}"


def _us(group: Group, name: str) -> str | None:
    value = group[name]["us_per_request"] if name in group else None
    return None if value is None else f"{value:.0f}"
