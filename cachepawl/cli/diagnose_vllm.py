"""`cachepawl diagnose-vllm`."""

from __future__ import annotations

from pathlib import Path

import click

from cachepawl.cli.common import PATH
from cachepawl.errors import GateFailed, InputError
from cachepawl.offline.output import write_files
from cachepawl.offline.render import to_json, to_markdown
from cachepawl.offline.vllm import gates
from cachepawl.offline.vllm.gates import Accounting
from cachepawl.offline.vllm.mixes import parse_mix
from cachepawl.offline.vllm.read import read_notes, read_plan
from cachepawl.offline.vllm.report import as_data, json_schemas, manifest, vllm_report
from cachepawl.offline.vllm.schema import MOST_COUNT
from cachepawl.offline.vllm.summary import summary


def _print_schemas(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(to_json(json_schemas()), nl=False)
        ctx.exit()


@click.command(
    "diagnose-vllm",
    epilog="Example: cachepawl diagnose-vllm --translated-cache-config plan.json "
    "--output-dir out --summary-only --mix attention=86,mamba=6",
)
@click.option(
    "--translated-cache-config", "plan_path", type=PATH, required=True,
    help="vLLM's cache plan, as translated to JSON.",
)  # fmt: skip
@click.option(
    "--raw-safe-metadata", "notes_path", type=PATH,
    help="What was noted where the plan was taken: available memory, counts to compare with.",
)  # fmt: skip
@click.option(
    "--output-dir", type=PATH, required=True,
    help="Where report.json, summary.md and manifest.json are written.",
)  # fmt: skip
@click.option("--timestamp", help="Written to the manifest as it is; without it, null.")
@click.option(
    "--summary-only", is_flag=True, help="Print the summary instead of the written files' paths."
)
@click.option(
    "--format", "output_format", type=click.Choice(["json", "markdown"]),
    help="What is printed instead: the summary in markdown, or report.json's text.",
)  # fmt: skip
@click.option(
    "--mix", metavar="BLOCKS",
    help="Blocks in use for the exact figures: attention=86,mamba=6, or 0=86,1=6 by group.",
)  # fmt: skip
@click.option(
    "--sequence-tokens", type=click.IntRange(1, MOST_COUNT),
    help="Tokens of the exact figures' sequence; by default the plan's longest.",
)  # fmt: skip
@click.option(
    "--accounting", type=click.Choice(["classic", "exact"]), default="classic", show_default=True,
    help="Which figures the gates look at; exact: of --mix, else of the worst mix.",
)  # fmt: skip
@click.option(
    gates.WASTE, "waste", type=float, metavar="F",
    help="Exit 1 when wasted_fraction is above F, 0 to 1.",
)  # fmt: skip
@click.option(
    gates.RATIO, "ratio", type=float, metavar="R",
    help="Exit 1 when overestimation_ratio is above R.",
)  # fmt: skip
@click.option(
    "--json-schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schemas,
    help="Print the schemas of the inputs and the report, and stop.",
)  # fmt: skip
def command(
    plan_path: Path,
    notes_path: Path | None,
    output_dir: Path,
    timestamp: str | None,
    summary_only: bool,
    output_format: str | None,
    mix: str | None,
    sequence_tokens: int | None,
    accounting: Accounting,
    waste: float | None,
    ratio: float | None,
) -> None:
    """What a vLLM cache plan for a hybrid model reserves, fills and wastes.

    Reads files; needs neither vLLM nor a GPU.  Gates act after the files are written.
    """
    thresholds = gates.checked(waste, ratio)
    if timestamp is not None and not (timestamp.isprintable() and len(timestamp) <= 200):
        raise InputError("--timestamp: give one line of at most 200 printable characters")
    words = None if mix is None else parse_mix(mix)
    notes = None if notes_path is None else read_notes(notes_path)
    report = vllm_report(read_plan(plan_path), notes, words, sequence_tokens)
    failed = gates.failures(gates.metrics(report, accounting), thresholds)
    texts = {
        "report.json": to_json(as_data(report)),
        "summary.md": to_markdown(summary(report)),
        "manifest.json": to_json(manifest(report, plan_path, notes_path, timestamp, accounting)),
    }
    written = write_files(output_dir, texts)
    if summary_only or output_format:
        click.echo(texts["report.json" if output_format == "json" else "summary.md"], nl=False)
    else:
        for path in written:
            click.echo(str(path))
    if failed:
        raise GateFailed("; ".join(failed))
