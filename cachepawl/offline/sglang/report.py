"""The diagnosis of a configuration: its memory plan, findings, and where each value is from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cachepawl.offline.document import Block, Document, Heading, Report, Table, Text
from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.checks import Verdict, verdict_of
from cachepawl.offline.sglang.findings.finding import Finding, Severity
from cachepawl.offline.sglang.findings.pools import idle_share
from cachepawl.offline.sglang.findings.words import percent
from cachepawl.offline.sglang.inputs.facts import QUANTITIES, Conflict, Missing
from cachepawl.offline.sglang.inputs.gather import READ_VERSION, Inputs, Known, gather
from cachepawl.offline.sglang.inputs.planned import with_context
from cachepawl.offline.sglang.layouts import Layout, layouts_of, layouts_table

CONTEXTS = (1024, 4096, 16384, 65536, 262144)
"""Lengths at which the plan says what fits."""


class Row(NamedTuple):
    """A line of the plan."""

    name: str
    title: str
    value: int | float


class Shown(NamedTuple):
    """What the report says of memory."""

    plan: list[Row]
    contexts: list[dict[str, int | float]]
    layouts: list[Layout]
    """Empty where the bytes or the model are not known."""


def diagnose(inputs: Inputs) -> tuple[Report, Verdict]:
    """The report and the verdict behind it.  InputError for input that cannot be used."""
    known = gather(inputs)
    case = case_of(known)
    verdict = verdict_of(case)
    shown = Shown(plan_rows(case), context_rows(case), side_by_side(known))
    return Report(_data(known, verdict, shown), _document(known, verdict, shown)), verdict


def case_of(known: Known) -> Case:
    """What the checks ask about."""
    model, flags = known.model, known.flags
    return Case(
        known.facts,
        flags,
        None if model is None else model.spec,
        known.cachepawl,
        known.refused,
    )


def plan_rows(case: Case) -> list[Row]:
    """What memory holds; rows whose values are unknown are left out."""
    lines: list[tuple[str, str, Callable[[], int | float]]] = [
        ("entry_bytes", "KV of a token, bytes a rank", lambda: case.need("entry_bytes")),
        ("state_bytes", "a state, bytes a rank", lambda: case.need("state_bytes")),
        ("tokens_per_state", "tokens of KV in a state's bytes",
         lambda: case.count("state_bytes") // case.count("entry_bytes")),
        ("kv_tokens", "KV pool, tokens", lambda: case.count("kv_tokens")),
        ("kv_bytes", "KV pool, bytes a rank",
         lambda: case.count("kv_tokens") * case.count("entry_bytes")),
        ("state_slots", "state pool, slots", lambda: case.count("state_slots")),
        ("state_pool_bytes", "state pool, bytes a rank, padding slot included",
         lambda: (case.count("state_slots") + 1) * case.count("state_bytes")),
        ("ratio", "bytes of states / bytes of KV",
         lambda: case.count("state_slots") * case.count("state_bytes")
         / (case.count("kv_tokens") * case.count("entry_bytes"))),
        ("running_limit", "requests running at once, at most", lambda: case.running),
        ("slots_held", "state slots that a running request owns", lambda: case.slots_held),
        ("slots_locked", "cached states that it locks", lambda: case.slots_locked),
        ("slots_reserved", "state slots by which requests are capped",
         lambda: case.slots_reserved),
        ("cap_by_states", "requests that the state slots allow",
         lambda: case.count("state_slots") // case.slots_reserved),
        ("slots_for_cache", "slots left to the cache at full load",
         lambda: case.cache_slots(case.running)),
        ("grid", "prefill snapshots every ... tokens at most", lambda: case.grid),
        ("track_grid", "decode snapshots every ... tokens", lambda: case.track_grid),
    ]  # fmt: skip
    rows = []
    for name, title, value in lines:
        try:
            if _applies(case, name):
                rows.append(Row(name, title, value()))
        except (Missing, ZeroDivisionError):
            continue
    return rows


def _applies(case: Case, name: str) -> bool:
    """Whether a row has a meaning: without states, and where one budget serves both kinds."""
    if name in ("entry_bytes", "kv_tokens", "running_limit"):
        return True
    if name == "kv_bytes":
        return not case.has_states or case.static_states
    if name in ("slots_reserved", "cap_by_states"):
        return case.has_states and not case.cachepawl
    if name in ("state_pool_bytes", "ratio", "slots_for_cache"):
        return case.static_states
    return case.has_states


def side_by_side(known: Known) -> list[Layout]:
    """The three layouts of the same bytes, as far as these are known."""
    if known.model is None or known.flags is None or known.budget is None:
        return []
    return layouts_of(known.model.spec, with_context(known.flags, known.facts), known.budget)


def context_rows(case: Case) -> list[dict[str, int | float]]:
    """Requests that fit at several contexts, and the bytes that idle then."""
    try:
        if not case.static_states:
            return []
        longest = case.facts.get("context_limit") or CONTEXTS[-1]
        rows = []
        for context in CONTEXTS:
            if context > longest:
                break
            by_kv, by_states, idle = idle_share(case, context)
            rows.append({"context": context, "requests_by_kv": by_kv,
                         "requests_by_states": by_states, "idle_share": idle})  # fmt: skip
        return rows
    except (Missing, ZeroDivisionError):
        return []


def _data(known: Known, verdict: Verdict, shown: Shown) -> dict[str, Any]:
    return {
        "rules_of_sglang": READ_VERSION,
        "plan": {row.name: row.value for row in shown.plan},
        "contexts": shown.contexts,
        "layouts": [layout._asdict() for layout in shown.layouts],
        "findings": [_finding_data(f) for f in verdict.findings],
        "fine": [{"id": c.id, "title": c.title} for c in verdict.fine],
        "not_checked": [n._asdict() for n in verdict.not_checked],
        "worst": None if verdict.worst is None else verdict.worst.label,
        "facts": {name: fact._asdict() for name, fact in known.facts.values.items()},
        "conflicts": [_conflict_data(c) for c in known.facts.conflicts],
        "changed_at_start": [_conflict_data(c) for c in known.settled],
        "notes": list(known.notes),
    }


def _finding_data(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "title": finding.title,
        "severity": finding.severity.label,
        "rule": finding.rule,
        "numbers": dict(finding.numbers),
        "arithmetic": finding.arithmetic,
        "remedy": finding.remedy,
        "changes": [change._asdict() for change in finding.changes],
        "link": finding.link,
    }


def _conflict_data(conflict: Conflict) -> dict[str, Any]:
    plain = (int, float, str, bool, type(None))
    return {k: v if isinstance(v, plain) else str(v) for k, v in conflict._asdict().items()}


def _document(known: Known, verdict: Verdict, shown: Shown) -> Document:
    blocks: list[Block] = []
    if verdict.findings:
        blocks += [Heading("Findings"), _overview(verdict)]
        blocks += [Text(_finding_text(finding)) for finding in verdict.findings]
    blocks.append(Heading("Memory plan"))
    blocks.append(_plan_table(shown.plan, case_of(known)))
    if shown.contexts:
        blocks.append(_contexts_table(shown.contexts))
    if known.budget is not None and shown.layouts:
        blocks.append(layouts_table(shown.layouts, known.budget))
    blocks += _rest(known, verdict)
    return Document("cachepawl diagnose-sglang", _lead(verdict), blocks)


def _lead(verdict: Verdict) -> str:
    counts = [
        f"{sum(f.severity is s for f in verdict.findings)} {s.label}"
        for s in sorted(Severity, reverse=True)
    ]
    return (
        f"{', '.join(counts)}; {len(verdict.fine)} checks fine, {len(verdict.not_checked)} not "
        f"checked. Rules of SGLang {READ_VERSION}."
    )


def _overview(verdict: Verdict) -> Table:
    rows = [
        [f.id, f.severity.label, f.title, "; ".join(map(str, f.changes))] for f in verdict.findings
    ]
    return Table(("id", "severity", "finding", "change"), rows)


def _finding_text(finding: Finding) -> str:
    change = f" ({', or '.join(f'`{c}`' for c in finding.changes)})" if finding.changes else ""
    return "\n".join(
        (
            f"**{finding.id} {finding.title}** ({finding.severity.label})",
            "",
            f"- Rule: {finding.rule}.",
            f"- Here: {finding.arithmetic}.",
            f"- Remedy: {finding.remedy}{change}.",
            f"- More: {finding.link}",
        )
    )


def _plan_table(plan: list[Row], case: Case) -> Table:
    note = "" if plan else "Nothing is known about memory: give --model, or a running server's log."
    if case.cachepawl or (case.known_flags is not None and case.flags.enable_unified_memory):
        note = "One budget serves both kinds: each number is what fits without the other kind, or "
        note += "what the start settles."
    return Table(("what", "value"), [[row.title, row.value] for row in plan], note=note)


def _contexts_table(contexts: list[dict[str, int | float]]) -> Table:
    rows = [
        [row["context"], row["requests_by_kv"], row["requests_by_states"],
         percent(row["idle_share"])]
        for row in contexts
    ]  # fmt: skip
    return Table(
        ("context, tokens", "requests by KV", "requests by states", "bytes idle"),
        rows,
        title="What fits",
        note="The smaller number runs; the rest of the larger kind idles, or caches prefixes.",
    )


def _rest(known: Known, verdict: Verdict) -> list[Block]:
    """Where values are from, what differs, and what could not be checked."""
    blocks: list[Block] = [Heading("What is known")]
    rows = [
        [QUANTITIES[name].title, fact.value, fact.source]
        for name, fact in known.facts.values.items()
        if name in QUANTITIES
    ]
    if rows:
        blocks.append(Table(("value", "", "from"), rows))
    for title, conflicts in (
        ("Inputs that differ; the first is used", known.facts.conflicts),
        ("Flags that SGLang changed at start", known.settled),
    ):
        if conflicts:
            cells = [
                [c.name, _shown(c.kept), c.kept_source, _shown(c.other), c.other_source]
                for c in conflicts
            ]
            blocks.append(Table(("value", "used", "from", "instead of", "from"), cells, title))
    blocks += [Text(note) for note in known.notes]
    if verdict.not_checked:
        needs = [[n.id, n.title, n.needs] for n in verdict.not_checked]
        blocks += [Heading("Not checked"), Table(("id", "check", "needs"), needs)]
    return blocks


def _shown(value: object) -> str | int | float | None:
    return value if isinstance(value, int | float) else "not set" if value is None else str(value)
