"""`cachepawl plan`."""

from __future__ import annotations

from pathlib import Path

import click

from cachepawl.cli.common import emit, format_option, output_dir_option, positive, progress
from cachepawl.offline.models import load_model
from cachepawl.offline.plan.compare import Ask
from cachepawl.offline.plan.places import make_places
from cachepawl.offline.plan.report import plan_report
from cachepawl.offline.plan.run import comparisons
from cachepawl.offline.plan.workload import make_workload
from cachepawl.offline.sglang.flags import parse_flags, shell_words


@click.command(
    "plan",
    epilog="Example: cachepawl plan --model Qwen3-Next-80B-A3B-Instruct --gpu h100-80gb --tp 4 "
    "--page-size 64 --context 8192 --context 65536 --concurrency 16",
)
@click.option(
    "--model", "models", multiple=True, required=True,
    help="A preset's name, a config.json, or a checkpoint's folder.  May be repeated.",
)  # fmt: skip
@click.option("--gpu", "gpus", multiple=True, help="A GPU, such as h100-80gb.  May be repeated.")
@click.option(
    "--gpu-gb", type=float, multiple=True, help="A GPU's memory in GiB.  May be repeated."
)
@click.option(
    "--rest-gb", type=float, multiple=True,
    help="GiB left for the cache on each rank once the weights are loaded.  May be repeated.",
)  # fmt: skip
@click.option(
    "--weights-gb", type=float, help="GiB of all weights; default: from the files or the name."
)
@click.option(
    "--context", "contexts", type=int, multiple=True, default=(8192, 32768), show_default=True,
    help="Tokens of a conversation.  May be repeated.",
)  # fmt: skip
@click.option(
    "--concurrency", type=int, default=8, show_default=True, help="Requests running at once."
)
@click.option(
    "--prefix-tokens", type=int, default=0, help="Tokens that all conversations share at the start."
)
@click.option(
    "--prefix-share", type=float, help="The same as a share of the context, 0 to below 1."
)
@click.option(
    "--ratio", "ratios", type=float, multiple=True, default=(0.2, 0.5), show_default=True,
    help="Static splits to show besides SGLang's default of 0.9.  May be repeated.",
)  # fmt: skip
@click.option("--page-size", type=int, help="Tokens of a page; default 1, as SGLang's.")
@click.option("--tp", type=int, default=1, show_default=True, help="Tensor-parallel ranks.")
@click.option(
    "--flags", default="", metavar="WORDS", help="Further flags of SGLang, as on its command line."
)
@format_option()
@output_dir_option
def command(
    models: tuple[str, ...],
    gpus: tuple[str, ...],
    gpu_gb: tuple[float, ...],
    rest_gb: tuple[float, ...],
    weights_gb: float | None,
    contexts: tuple[int, ...],
    concurrency: int,
    prefix_tokens: int,
    prefix_share: float | None,
    ratios: tuple[float, ...],
    page_size: int | None,
    tp: int,
    flags: str,
    output_format: str,
    output_dir: Path | None,
) -> None:
    """What a model's cache holds on given GPUs: SGLang's static split, its unified memory and
    cachepawl's arena side by side.

    Counts requests that run at once and conversations that stay cached.  Needs no GPU.
    """
    for name, values in (("--gpu-gb", gpu_gb), ("--rest-gb", rest_gb), ("--ratio", ratios)):
        for value in values:
            positive(name, value, 1e6)
    positive("--weights-gb", weights_gb, 1e6)
    own = ["--tp-size", str(tp), *(() if page_size is None else ("--page-size", str(page_size)))]
    ask = Ask(
        flags=parse_flags([*own, *shell_words(flags, "--flags")], "--flags"),
        workloads=[
            make_workload(n, prefix_tokens, prefix_share, concurrency)
            for n in dict.fromkeys(contexts)
        ],
        ratios=ratios,
        weights_gb=weights_gb,
    )
    places = make_places(gpus, gpu_gb, rest_gb)
    loaded = [load_model(name) for name in models]
    with progress("planning", len(loaded) * len(places)) as advance:
        found = []
        for comparison in comparisons(loaded, places, ask):
            found.append(comparison)
            advance(1)
    emit(plan_report(found), output_format, output_dir)
