"""`cachepawl diagnose-sglang`."""

from __future__ import annotations

from pathlib import Path

import click

from cachepawl.cli.common import PATH, emit, format_option, output_dir_option, positive
from cachepawl.errors import GateFailed, InputError
from cachepawl.offline.plan.places import Place, make_places
from cachepawl.offline.sglang.findings.finding import Severity
from cachepawl.offline.sglang.inputs.gather import Inputs
from cachepawl.offline.sglang.inputs.planned import Memory
from cachepawl.offline.sglang.report import diagnose

GIB = 1 << 30


@click.command(
    "diagnose-sglang",
    epilog="Example: cachepawl diagnose-sglang --model Qwen3-Next-80B-A3B-Instruct "
    "--log server.log --metrics metrics.txt --typical-prompt 6000 --fail-on warning",
)
@click.option("--model", help="A config.json, its folder, or the name of a preset.")
@click.option("--flags", help="The server's flags in one text; empty for SGLang's defaults.")
@click.option("--launch", type=PATH, help="A file with the launch command.")
@click.option("--server-info", type=PATH, help="The answer of /server_info, as JSON.")
@click.option("--log", type=PATH, help="The server's log, with its start.")
@click.option("--metrics", type=PATH, help="The text of /metrics.")
@click.option("--context", type=float, help="Expected tokens of a running request.")
@click.option("--typical-prompt", type=float, help="Expected tokens of a prompt.")
@click.option("--typical-answer", type=float, help="Expected tokens of an answer.")
@click.option("--concurrency", type=float, help="Requests wanted at once.")
@click.option("--gpu", help="The GPU, such as h100-80gb, where no server's pools are known.")
@click.option("--gpu-gb", type=float, help="The GPU's memory, GiB.")
@click.option("--rest-gb", type=float, help="GiB left for KV and states on a rank.")
@click.option("--weights-gb", type=float, help="GiB of all weights; default: as far as known.")
@click.option("--host-memory-gb", type=float, help="Memory of the host, GiB.")
@click.option(
    "--fail-on",
    type=click.Choice(("warning", "error")),
    help="Exit 1 when there is a finding of this severity or worse.",
)
@format_option()
@output_dir_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(
    model: str | None,
    flags: str | None,
    launch: Path | None,
    server_info: Path | None,
    log: Path | None,
    metrics: Path | None,
    context: float | None,
    typical_prompt: float | None,
    typical_answer: float | None,
    concurrency: float | None,
    gpu: str | None,
    gpu_gb: float | None,
    rest_gb: float | None,
    weights_gb: float | None,
    host_memory_gb: float | None,
    fail_on: str | None,
    output_format: str,
    output_dir: Path | None,
    words: tuple[str, ...],
) -> None:
    """What an SGLang 0.5.23 server's memory holds, and what is wrong with its settings.

    Give any of the inputs; what cannot be checked without more is listed with what it needs.
    A launch command may also follow after `--`.
    """
    sizes = {"gpu_gb": gpu_gb, "rest_gb": rest_gb, "weights_gb": weights_gb}
    expected = {
        "context": context,
        "typical_prompt": typical_prompt,
        "typical_answer": typical_answer,
        "concurrency": concurrency,
    }
    for name, value in {**expected, **sizes, "host_memory_gb": host_memory_gb}.items():
        positive(f"--{name.replace('_', '-')}", value, 1e9)
    host = None if host_memory_gb is None else int(host_memory_gb * GIB)
    inputs = Inputs(
        model,
        flags,
        words,
        launch,
        server_info,
        log,
        metrics,
        {**expected, "host_bytes": host},
        Memory(_place(gpu, gpu_gb, rest_gb), weights_gb),
    )
    report, verdict = diagnose(inputs)
    emit(report, output_format, output_dir)
    if fail_on is not None:
        least = Severity[fail_on.upper()]
        ids = ", ".join(dict.fromkeys(f.id for f in verdict.findings if f.severity >= least))
        if ids:
            raise GateFailed(f"--fail-on {fail_on}: {ids}")


def _place(gpu: str | None, gpu_gb: float | None, rest_gb: float | None) -> Place | None:
    """The one place that is named, if any."""
    given = sum(value is not None for value in (gpu, gpu_gb, rest_gb))
    if given == 0:
        return None
    if given > 1:
        raise InputError("--gpu, --gpu-gb and --rest-gb exclude each other; give one")
    return make_places(
        [] if gpu is None else [gpu],
        [] if gpu_gb is None else [gpu_gb],
        [] if rest_gb is None else [rest_gb],
    )[0]
