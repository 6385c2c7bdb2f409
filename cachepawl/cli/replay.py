"""`cachepawl replay`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from cachepawl.cli.common import PATH, emit, format_option, output_dir_option, progress
from cachepawl.errors import GateFailed
from cachepawl.offline.recorded.first_look import is_recording
from cachepawl.offline.replay.command import Wanted, sweep_of
from cachepawl.offline.replay.explain import explain, explain_report
from cachepawl.offline.replay.report import replay_report
from cachepawl.offline.replay.source import Source, facts_of
from cachepawl.offline.replay.sweep import run
from cachepawl.offline.traces.claude_code import Sharing
from cachepawl.offline.traces.formats import FORMATS, RECORDING, Options
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import DEFAULT, POLICIES

COUNT = click.IntRange(min=1)


@click.command(
    "replay",
    epilog="Example: cachepawl replay conversation_trace.jsonl.gz --model Qwen3-Next-80B-A3B-"
    "Instruct --device-gb 20,40,80 --compare lru --output-dir out",
)
@click.argument("trace", type=PATH)
@click.option("--model", help="A preset's name, a config.json or its folder.")
@click.option("--device-gb", help="GiB of the arena; several with commas between.")
@click.option(
    "--host-gb",
    default="0",
    show_default=True,
    help="GiB of the host's arena; several with commas between.",
)
@click.option(
    "--link-gbps",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=50.0,
    show_default=True,
    help="GB/s between device and host, each way.",
)
@click.option(
    "--write",
    type=click.Choice(list(WRITE_POLICIES)),
    default="write_through",
    show_default=True,
    help="What is written to the host when.",
)
@click.option(
    "--policy",
    type=click.Choice(list(POLICIES)),
    default=DEFAULT,
    show_default=True,
    help="What is evicted first.",
)
@click.option(
    "--compare", default="", help="More policies, with commas between, and the bounds beside them."
)
@click.option("--page", type=COUNT, default=16, show_default=True, help="Tokens of a page.")
@click.option(
    "--chunk", type=COUNT, default=8192, show_default=True, help="Tokens of a prefill chunk."
)
@click.option(
    "--grid", type=COUNT, help="Tokens between depths where a state can be; default: the server's."
)
@click.option("--running", type=COUNT, default=1, show_default=True, help="Requests at once.")
@click.option(
    "--answers",
    type=click.Choice(["hold", "publish"]),
    default="hold",
    show_default=True,
    help="Whether answers leave the cache when a request ends, or stay as unknown tokens.",
)
@click.option(
    "--checkpoint-dtype",
    default="auto",
    show_default=True,
    help="How states kept for reuse are stored: auto (as they are), int8, fp8; several with "
    "commas between.",
)
@click.option("--tp", type=COUNT, default=1, show_default=True, help="Tensor-parallel ranks.")
@click.option(
    "--trace-format",
    type=click.Choice(["auto", *FORMATS, RECORDING]),
    default="auto",
    show_default=True,
    help="The trace's format.",
)
@click.option(
    "--gap",
    type=float,
    default=Options().gap,
    show_default=True,
    help="Mean seconds between starts of conversations, where a trace has no common clock.",
)
@click.option(
    "--sharing",
    type=click.Choice([str(sharing) for sharing in Sharing]),
    default=str(Options().sharing),
    show_default=True,
    help="What conversations have in common, where a trace does not say.",
)
@click.option("--seed", type=int, default=Options().seed, show_default=True, help="Of the starts.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave out lines that cannot be read.")
@click.option(
    "--explain",
    "number",
    type=COUNT,
    help="Tell of the request of this number what it hit, what it missed, and why that was gone.",
)
@click.option("--limit", type=COUNT, help="Requests to replay at most.")
@click.option("--jobs", type=COUNT, help="Processes; default: one for each core.")
@click.option(
    "--check-level",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="Check the cache after every request: 1 its counters, 2 everything (slow).",
)
@format_option("json", "markdown", "html")
@output_dir_option
def command(
    trace: Path,
    trace_format: str,
    gap: float,
    sharing: str,
    seed: int,
    skip_bad_lines: bool,
    number: int | None,
    limit: int | None,
    jobs: int | None,
    output_format: str,
    output_dir: Path | None,
    **wanted: Any,
) -> None:
    """Replay a TRACE through the tree, the frames and the policies that serve.

    A recording of a server (--cachepawl-trace) without --model and --device-gb is run again
    call by call on the recorded arena, and every answer is compared.
    """
    if wanted["model"] is None and wanted["device_gb"] is None and is_recording(trace):
        if number is not None:
            from cachepawl.offline.recorded.explain import explain_recorded  # brings pydantic

            told = [explain_recorded(trace, number)]
            return emit(explain_report(told, number), output_format, output_dir)
        return _run_again(trace, output_format, output_dir)
    options = Options(seed, gap, Sharing(sharing))
    source = Source(trace, trace_format, skip_bad_lines, limit, options)
    facts = facts_of(source)
    sweep = sweep_of(Wanted(**wanted), source, facts)
    if number is not None:
        told = [explain(scenario, source.requests(), number) for scenario in sweep.scenarios]
        return emit(explain_report(told, number), output_format, output_dir)
    total = facts.requests * len(sweep.scenarios)
    with progress("replay", total) as tick:
        found = run(sweep, jobs or len(os.sched_getaffinity(0)), tick)
    return emit(
        replay_report(source, facts, found.outcomes, found.lines), output_format, output_dir
    )


def _run_again(recording: Path, output_format: str, output_dir: Path | None) -> None:
    from cachepawl.offline.recorded.report import exact_report  # brings pydantic

    report = exact_report(recording)
    emit(report, output_format, output_dir)
    difference = report.data["rerun"]["divergence"]
    if difference is not None:
        raise GateFailed(f"{recording}: the re-run differs from the recording: {difference}")
