"""The result of a replay for people: tables, plots, and what the numbers leave out."""

from __future__ import annotations

from collections.abc import Sequence

from cachepawl.offline.document import Block, Document, Heading, Report, Table, Text
from cachepawl.offline.replay.data import data_of
from cachepawl.offline.replay.lines import Line
from cachepawl.offline.replay.occupancy import NAMES, Occupancy
from cachepawl.offline.replay.outcome import Outcome
from cachepawl.offline.replay.plots import ABOUT_LINES, plots
from cachepawl.offline.replay.scenario import GIB, Scenario
from cachepawl.offline.replay.source import Facts, Source
from cachepawl.tree import Reason

Row = Sequence[str | int | float | None]


def replay_report(
    source: Source, facts: Facts, outcomes: Sequence[Outcome], lines: Sequence[Line]
) -> Report:
    """The report of one sweep; at least one outcome."""
    blocks: list[Block] = [
        _hits(outcomes, lines, facts.prompt_tokens),
        *_host(outcomes),
        Heading("Why prompts were computed"),
        _misses(outcomes),
        Heading("Where the memory went"),
        _memory(outcomes),
        Heading("Over time"),
        *plots(outcomes, lines, facts.prompt_tokens),
        Heading("What was replayed"),
        Text(_what(source, facts, [o.scenario for o in outcomes])),
    ]
    document = Document("cachepawl replay", _lead(outcomes), blocks)
    return Report(data_of(source, facts, outcomes, lines), document)


def _lead(outcomes: Sequence[Outcome]) -> str:
    best = max(outcomes, key=lambda o: o.total.hit_rate)
    total, scenario = best.total, best.scenario
    text = (
        f"{_percent(total.hit, total.prompt)} of {total.prompt:,} prompt tokens come from the "
        f"cache with {scenario.label} on {scenario.budget / GIB:g} GiB, which saves "
        f"{_percent(total.flops_saved, total.flops)} of the prefill's FLOPs."
    )
    if total.missed:
        reason, tokens = total.missed.most_common(1)[0]
        text += f" Of what is computed, {_percent(tokens, total.prompt - total.hit)} is: {reason}."
    return text


def _hits(outcomes: Sequence[Outcome], lines: Sequence[Line], prompt_tokens: int) -> Table:
    columns = ("policy", "GiB", "hit", "tokens saved", "FLOPs saved", "KV tokens evicted",
               "states evicted", "requests refused", "CPU s")  # fmt: skip
    rows: list[Row] = [
        [
            o.scenario.label,
            o.scenario.budget / GIB,
            _percent(o.total.hit, o.total.prompt),
            o.total.hit,
            _percent(o.total.flops_saved, o.total.flops),
            o.total.evicted_tokens,
            o.total.evicted_states,
            o.total.refused,
            round(o.seconds, 1),
        ]
        for o in outcomes
    ]
    rows += _bounds(lines, prompt_tokens)
    note = "Refused requests do not fit the empty cache; no other number counts them."
    if lines:
        note += f" {ABOUT_LINES}"
    return Table(columns, rows, note=note)


def _host(outcomes: Sequence[Outcome]) -> list[Block]:
    """What loads brought, and what they and the write-backs cost."""
    columns = ("policy", "GiB", "of the hit, loaded", "loads", "GiB loaded", "link s",
               "GiB written", "link s", "pays below TFLOP/s")  # fmt: skip
    rows: list[Row] = [
        [
            o.scenario.label,
            o.scenario.budget / GIB,
            _percent(int(o.host["loaded_prompt_tokens"]), o.total.hit),
            o.host["loads"],
            round(o.host["load_bytes"] / GIB, 1),
            round(o.host["load_seconds"], 1),
            round(o.host["write_bytes"] / GIB, 1),
            round(o.host["write_seconds"], 1),
            round(o.host["loaded_prompt_flops"] / o.host["load_seconds"] / 1e12)
            if o.host["load_seconds"]
            else None,
        ]
        for o in outcomes
        if o.host
    ]
    if not rows:
        return []
    note = (
        "A load takes less time than prefilling what it brings, on a device that prefills at less "
        "than the last column."
    )
    return [Heading("What the host brought"), Table(columns, rows, note=note)]


def _bounds(lines: Sequence[Line], prompt_tokens: int) -> list[Row]:
    return [
        (
            line.label,
            "any" if line.budget is None else line.budget / GIB,
            _percent(line.hit, prompt_tokens),
            line.hit,
            *[None] * 5,
        )
        for line in lines
    ]


def _misses(outcomes: Sequence[Outcome]) -> Table:
    found = {reason for o in outcomes for reason in o.total.missed}
    reasons = [reason.value for reason in Reason if reason.value in found]
    rows: list[Row] = [
        (
            o.scenario.label,
            o.scenario.budget / GIB,
            _percent(o.total.hit, o.total.prompt),
            *(_percent(o.total.missed[reason], o.total.prompt) for reason in reasons),
        )
        for o in outcomes
    ]
    return Table(("policy", "GiB", "hit", *reasons), rows, note="Shares of all prompt tokens.")


def _memory(outcomes: Sequence[Outcome]) -> Table:
    columns = ("policy", "GiB", *NAMES.values(), "most ever stranded")
    rows: list[Row] = []
    for o in outcomes:
        mean, budget = o.total.mean_occupancy(), o.scenario.budget
        shares = [_percent(getattr(mean, name), budget) for name in Occupancy._fields]
        peak = f"{o.peak_stranded / (1 << 20):,.0f} MiB"
        rows.append((o.scenario.label, budget / GIB, *shares, peak))
    return Table(columns, rows, note="Shares of the budget, the mean over all admissions.")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _what(source: Source, facts: Facts, scenarios: Sequence[Scenario]) -> str:
    block, scenario = facts.block_tokens, scenarios[0]
    items = [
        f"trace: {source.path.name} ({facts.format}), {facts.requests:,} requests, "
        f"{facts.prompt_tokens:,} prompt tokens, {facts.output_tokens:,} answer tokens, "
        f"{facts.seconds / 60:,.1f} minutes, {facts.skipped:,} lines skipped",
        f"model: {scenario.spec.name}, {scenario.geometry.entry_bytes:,} bytes of KV a token, "
        f"{scenario.geometry.state_bytes:,} bytes a state, tp {scenario.tp}",
        f"pages of {scenario.page} tokens, chunks of {scenario.chunk:,}, states every "
        f"{scenario.grid} tokens at most, {scenario.way.slots} states a running request, "
        f"{scenario.running} requests at once",
    ]
    items += _compressed(scenarios)
    if block > 1:
        items.append(
            f"the trace tells blocks of {block} tokens, not tokens: prompts that part inside a "
            f"block count as parting where it begins"
        )
    items += [f"skipped: {why}" for why in facts.first_skipped]
    items.append(_ANSWERS[scenario.answers])
    items.append("requests are prefilled one by one; a chunk is never shared between them")
    return "\n".join(f"- {item}" for item in items)


_ANSWERS = {
    "hold": "answers take room while they run and leave nothing: the trace does not say what "
    "they were",
    "publish": "answers stay cached as tokens that no later prompt has: they cost memory as a "
    "server's do, but are never hit",
}


def _compressed(scenarios: Sequence[Scenario]) -> list[str]:
    arenas = {one.checkpoint_dtype: one.geometry for one in scenarios}
    return [
        f"states kept for reuse in {dtype}: {geometry.kept_bytes:,} bytes, "
        f"{geometry.checkpoints_per_frame} a frame; what rounding costs is not replayed"
        for dtype, geometry in arenas.items()
        if dtype != "auto"
    ]
