"""The answer of `cachepawl plan`: a table and drawings for people, every number for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachepawl.offline.document import Block, Document, Heading, Report, Table, Text
from cachepawl.offline.plan.compare import BEST, Comparison, Row
from cachepawl.offline.plan.fits import Fit, fit
from cachepawl.offline.plan.plots import plots
from cachepawl.offline.plan.workload import Workload
from cachepawl.offline.sglang.memory.budget import GIB

_COLUMNS = (
    "tokens", "layout", "KV tokens", "states", "request limit",
    "at once", "limited by", "running", "cached", "held", "memory used",
)  # fmt: skip
_HOW = """\
- **KV tokens**, **states**: the most of one kind; one budget holds less of one as it holds more
  of the other, a static split holds both.
- **request limit**: requests that the server lets run, whatever they need.
- **at once**: requests of that length that run together in an otherwise empty cache, and what
  keeps one more from it.
- **running**: as many as were asked for, if so many run at once; **cached**: conversations that
  the cache keeps beside them, each with the state at its end; **held**: both.  A running request
  takes more states than a cached one, so a layout that runs fewer may hold more.
- **memory used**: by all that is held, of what is left for the cache.
- **best ratio**: the static split in hindsight, of 161 ratios from 0.01 to 100, for that row's
  length alone."""


def plan_report(comparisons: Sequence[Comparison]) -> Report:
    """The report over all models and places."""
    data = {"comparisons": [_data(c) for c in comparisons]}
    blocks: list[Block] = []
    for c in comparisons:
        blocks += _blocks(c)
    blocks += [Heading("How to read it"), Text(_HOW)]
    return Report(data, Document("cachepawl plan", " ".join(map(_lead, comparisons)), blocks))


def _lead(c: Comparison) -> str:
    """The longest workload's answer in a sentence."""
    where = f"{c.model.name} on {c.place.name}"
    if not c.rows:
        return f"{where}: no layout fits."
    longest = max(row.workload.context for row in c.rows)
    rows = [row for row in c.rows if row.workload.context == longest]
    said = [f"{_name(row)} {_runs(row.fit)}" for row in rows]
    return f"{where}, conversations of {longest:,} tokens: {', '.join(said)}."


def _runs(f: Fit) -> str:
    return f"runs {f.running:,} and keeps {f.cached:,}"


def _name(row: Row) -> str:
    return row.layout if row.ratio is None else f"{row.layout} {row.ratio:g}"


def _blocks(c: Comparison) -> list[Block]:
    blocks: list[Block] = [Heading(f"{c.model.name}, {c.place.name}"), Text(_facts(c))]
    if c.rows:
        blocks.append(Table(_COLUMNS, [_cells(c, row) for row in c.rows]))
    blocks += [Text(said) for said in [_other_lengths(c)] if said]
    if c.left_out:
        blocks.append(Table(("without", "why"), c.left_out))
    return [*blocks, *plots(c)]


def _other_lengths(c: Comparison) -> str:
    """What the ratio that is best for one length holds of another; "" for a single length."""
    best = {row.workload: row for row in c.rows if row.layout == BEST}
    if len(best) < 2 or c.arena is None:
        return ""
    short, long = min(best, key=_length), max(best, key=_length)
    lines = []
    for own, other in ((short, long), (long, short)):
        row = best[own]
        lines.append(
            f"- The ratio that is best for {own.context:,} tokens, {row.ratio:g}, "
            f"{_runs(fit(row.store, other))} conversations of {other.context:,}; the arena "
            f"{_runs(fit(c.arena, other))}."
        )
    return "\n".join(lines)


def _length(w: Workload) -> int:
    return w.context


def _facts(c: Comparison) -> str:
    s = c.settled
    lines = [_budget_line(c)]
    kv, state = s.spec.kv_bytes_per_token(s.tp), s.spec.state_bytes(s.tp)
    each = f"KV of {kv:,} bytes a token"
    if state:
        per = f" (as {state // kv:,} tokens of KV)" if kv else ""
        each += (
            f", a state of {state:,} bytes{per}, {s.states_per_request} states a running request"
        )
    lines.append(f"{each}; pages of {s.page_tokens} tokens.")
    lines += [f"Taken for granted: {what}." for what in s.assumed]
    return "\n".join(f"- {line}" for line in lines)


def _budget_line(c: Comparison) -> str:
    ranks = c.flags.tp_size * c.flags.pp_size
    each = " on each rank" if ranks > 1 else ""
    if c.budget is None:
        return f"Nothing is left for the cache{each}."
    left = f"{c.budget.rest / GIB:.2f} GiB left for the cache{each}"
    if c.budget.exact:
        return f"{left}, {c.budget.source}."
    assert c.weights is not None
    return (
        f"{left}, an estimate: {c.budget.source} ({c.weights.bytes / ranks / GIB:.2f} GiB a rank: "
        f"{c.weights.source})."
    )


def _cells(c: Comparison, row: Row) -> list[str | int | float | None]:
    f, store = row.fit, row.store
    return [
        row.workload.context,
        _name(row),
        store.most_tokens,
        store.most_states,
        store.request_limit,
        f.at_once,
        f.at_once_by,
        f.running,
        f.cached,
        f.held,
        f"{_used(c, row):.1%}".replace("%", " %"),
    ]


def _used(c: Comparison, row: Row) -> float:
    assert c.budget is not None
    return row.fit.used_bytes / c.budget.rest


# -- for programs ----------------------------------------------------------------------


def _data(c: Comparison) -> dict[str, Any]:
    s, budget = c.settled, c.budget
    return {
        "model": c.model.name,
        "place": c.place.name,
        "budget_bytes": None if budget is None else int(budget.rest),
        "budget_exact": None if budget is None else budget.exact,
        "budget_source": None if budget is None else budget.source,
        "weight_bytes": None if c.weights is None else c.weights.bytes,
        "weight_source": None if c.weights is None else c.weights.source,
        "tp": c.flags.tp_size,
        "page_tokens": s.page_tokens,
        "kv_bytes_per_token": s.spec.kv_bytes_per_token(s.tp),
        "state_bytes": s.spec.state_bytes(s.tp),
        "states_per_running_request": s.states_per_request,
        "assumed": list(s.assumed),
        "rows": [_row_data(c, row) for row in c.rows],
        "left_out": [{"layout": layout, "why": why} for layout, why in c.left_out],
    }


def _row_data(c: Comparison, row: Row) -> dict[str, Any]:
    plan = row.store
    return {
        "layout": row.layout,
        "ratio": row.ratio,
        "context_tokens": row.workload.context,
        "prefix_tokens": row.workload.prefix,
        "concurrency": row.workload.running,
        "kv_tokens": plan.most_tokens,
        "state_slots": plan.most_states,
        "request_limit": plan.request_limit,
        "at_once": row.fit.at_once,
        "at_once_by": row.fit.at_once_by,
        "running": row.fit.running,
        "cached": row.fit.cached,
        "cached_by": row.fit.cached_by,
        "held": row.fit.held,
        "used_bytes": row.fit.used_bytes,
        "used_share": _used(c, row),
    }
