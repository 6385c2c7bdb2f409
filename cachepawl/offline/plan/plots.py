"""Conversations held, drawn over their length and over the ratio of the static split."""

from __future__ import annotations

from typing import Any

from cachepawl.offline.document import Plot
from cachepawl.offline.plan.compare import ARENA, BEST, STATIC, UNIFIED, Comparison
from cachepawl.offline.plan.fits import fit
from cachepawl.offline.plan.ratios import best_of
from cachepawl.offline.plan.stores import StaticStore, Store
from cachepawl.offline.plan.workload import Workload

SHORTEST, LONGEST = 1024, 131072
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
"""One for each length of conversation."""
_DASHES = {ARENA: "solid", BEST: "dash", UNIFIED: "dashdot", STATIC: "dot"}


def plots(c: Comparison) -> list[Plot]:
    """The drawings of one comparison; none where nothing fits."""
    if c.budget is None or not c.rows:
        return []
    out = [_over_context(c)]
    if c.grid:
        out.append(_over_ratio(c))
    return out


def _contexts(c: Comparison) -> list[int]:
    given = {row.workload.context for row in c.rows}
    n, doubled = SHORTEST, set[int]()
    while n <= max(LONGEST, *given):
        doubled.add(n)
        n *= 2
    return sorted(given | doubled)


def _over_context(c: Comparison) -> Plot:
    first = c.rows[0].workload
    share = first.prefix / first.context
    loads = [Workload(n, int(n * share), first.running) for n in _contexts(c)]
    lines = {name: [fit(store, w).held for w in loads] for name, store in _stores(c)}
    if c.grid:
        found = [best_of(c.grid, w) for w in loads]
        lines[BEST] = [0 if best is None else best[1].held for best in found]
    data = [_line(name, [w.context for w in loads], held) for name, held in lines.items()]
    title = f"{c.model.name}, {c.place.name}: conversations held over their length"
    shared = f", {share:.0%} of it shared" if share else ""
    note = (
        f"As many of {first.running} as a layout runs at once, and what it keeps beside "
        f"them{shared}."
    )
    return Plot(title, _figure(data, "tokens a conversation"), note)


def _stores(c: Comparison) -> list[tuple[str, Store]]:
    """The layouts that do not change with the workload, each once."""
    first = c.rows[0].workload
    return [
        (row.layout if row.ratio is None else f"{row.layout} {row.ratio:g}", row.store)
        for row in c.rows
        if row.workload == first and row.layout != BEST
    ]


def _over_ratio(c: Comparison) -> Plot:
    data = list[dict[str, Any]]()
    ratios = [plan.settled.ratio for plan in c.grid]
    for i, w in enumerate(dict.fromkeys(row.workload for row in c.rows)):
        color = {"color": _COLORS[i % len(_COLORS)]}
        held = [fit(StaticStore(plan), w).held for plan in c.grid]
        lines = [_line(f"static split, {w.context:,} tokens", ratios, held)]
        if c.arena is not None:
            ends, most = [ratios[0], ratios[-1]], fit(c.arena, w).held
            lines.append(_line(f"arena, {w.context:,} tokens", ends, [most] * 2))
        data += [line | {"line": line["line"] | color} for line in lines]
    title = f"{c.model.name}, {c.place.name}: conversations held over the ratio"
    return Plot(title, _figure(data, "--mamba-full-memory-ratio"))


def _line(name: str, x: list[Any], y: list[int]) -> dict[str, Any]:
    dash = next((d for start, d in _DASHES.items() if name.startswith(start)), "solid")
    # A logarithm has no place for zero.
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": [n or None for n in y],
        "line": {"dash": dash},
    }


def _figure(data: list[dict[str, Any]], axis: str) -> dict[str, Any]:
    log = {"type": "log", "dtick": "D2"}
    layout = {
        "xaxis": {"title": {"text": axis}, **log},
        "yaxis": {"title": {"text": "conversations held"}, **log},
        "legend": {"orientation": "h", "y": -0.25},
    }
    return {"data": data, "layout": layout}
