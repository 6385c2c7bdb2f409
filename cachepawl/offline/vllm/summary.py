"""The report for people: `summary.md`."""

from __future__ import annotations

from collections import Counter

from cachepawl.offline.document import Block, Document, Heading, Table, Text
from cachepawl.offline.vllm.records import MixWaste, VllmReport
from cachepawl.offline.vllm.why import percent

FIGURES = (
    "observed_reserved_bytes",
    "observed_useful_bytes",
    "cachepawl_recommended_bytes",
    "advisory_savings_bytes",
    "overestimation_ratio",
    "wasted_fraction",
    "available_kv_cache_gpu_memory_bytes",
    "num_blocks",
    "cache_group_count",
    "cache_tensor_count",
    "layer_count",
)
MOST_CONTRADICTIONS = 20


def summary(report: VllmReport) -> Document:
    """Exact waste first, then the classic figures, the groups, and what is wrong with the files."""
    blocks: list[Block] = [*_contradictions(report), *_exact(report), *_classic(report)]
    blocks += [Heading("Groups"), _groups(report), Heading("What this is not"), _limits(report)]
    return Document("vLLM cache plan", _lead(report), blocks)


def _lead(report: VllmReport) -> str:
    exact = report.exact
    if exact.worst is None or exact.best is None:
        return f"Exact figures are not available: {exact.unavailable}."
    best, worst = percent(exact.best.wasted_fraction), percent(exact.worst.wasted_fraction)
    text = f"Padding wastes between {best} and {worst} of the blocks in use, by their mix"
    if exact.full_sequence is None:
        return f"{text}."
    waste = percent(exact.full_sequence.mix.wasted_fraction)
    return f"{text}; {waste} for one sequence of {exact.full_sequence.tokens:,} tokens."


def _contradictions(report: VllmReport) -> list[Block]:
    if not report.contradictions:
        return []
    shown = report.contradictions[:MOST_CONTRADICTIONS]
    more = len(report.contradictions) - len(shown)
    lines = [f"- {line}" for line in shown] + [f"- and {more} more, in report.json"] * bool(more)
    return [Heading("The files contradict themselves or each other"), Text("\n".join(lines))]


def _exact(report: VllmReport) -> list[Block]:
    exact = report.exact
    mixes = [
        ("best", exact.best),
        ("worst", exact.worst),
        ("one block per group", exact.one_block_per_group),
    ]
    if exact.full_sequence is not None:
        mixes.append((f"{exact.full_sequence.tokens:,} tokens", exact.full_sequence.mix))
    if exact.given is not None:
        mixes.append(("given", exact.given))
    rows = [_mix_row(report, name, mix) for name, mix in mixes if mix is not None]
    columns = ("mix", "blocks", "reserved bytes", "wasted bytes", "waste", "reserved / useful")
    table = Table(columns, rows, note=_note(report))
    return [Heading("Exact"), *([table] if rows else []), Text(exact.why_it_differs)]


def _mix_row(report: VllmReport, name: str, mix: MixWaste) -> list[str | int | float | None]:
    return [
        name,
        _mix_text(report, mix),
        mix.reserved_bytes,
        mix.wasted_bytes,
        percent(mix.wasted_fraction),
        mix.overestimation_ratio,
    ]


def _mix_text(report: VllmReport, mix: MixWaste) -> str:
    """`86 attention, 6 mamba`."""
    counts = Counter[str]()
    for group, blocks in zip(report.group_advisories, mix.blocks, strict=True):
        if blocks:
            counts[group.cache_kind or "of no kind"] += blocks
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return text if mix.fits else f"{text}: more than the pool has"


def _note(report: VllmReport) -> str:
    exact = report.exact
    if exact.full_sequence is None:
        return f"No full-length sequence: {exact.full_sequence_unavailable}."
    unfilled = exact.full_sequence.unfilled_bytes
    if not unfilled:
        return ""
    return (
        f"Beyond padding, the sequence leaves {unfilled:,} bytes of its last attention blocks "
        "unfilled."
    )


def _classic(report: VllmReport) -> list[Block]:
    rows = [[name, _plain(getattr(report, name))] for name in FIGURES]
    rows.append(["classification", report.classification])
    return [Heading("Classic"), Table(("field of report.json", "value"), rows)]


def _plain(value: int | float | None) -> str:
    """As report.json has it."""
    return "null" if value is None else repr(value)


def _groups(report: VllmReport) -> Table:
    columns = ("group", "kind", "layers", "tokens a block", "page bytes", "useful bytes", "padding")
    rows = [
        [
            group.group_index,
            group.cache_kind,
            group.layer_count,
            group.block_size,
            group.page_size_bytes,
            group.useful_bytes,
            None if group.wasted_fraction is None else percent(group.wasted_fraction),
        ]
        for group in report.group_advisories
    ]
    return Table(columns, rows)


def _limits(report: VllmReport) -> Text:
    points = "\n".join(f"- {point}" for point in report.missing_mutation_fields)
    return Text(
        "Advice only. vLLM was not run and nothing of it was changed; no byte is saved by this "
        "report. For a plan like the recommended one to take effect, vLLM would need\n\n" + points
    )
