"""`python -m benchmarks.gpu.run`: measure the kernels on a GPU, print tables, write JSON.

Writes `gpu.json` to `--out` after every section: the figures, the GPU, driver and versions they
belong to, and what failed, missed a target or was not measured.  With `--only` the other sections
of the file stay, if they are of the same machine.  Every result is checked before it is timed.

Exit code 0 when all is measured and well; 1 when a section or a row failed, or missed a target
(`bars.py`): a copy of extents of 64 KiB or more below 90 % of a device-to-device copy (75 % at
16 KiB), the server's own copies below 90 %, pages or states between the tiers below 90 % of a plain
pinned copy, a load by layers not hidden, a step that waits for the device, attention more than 5 %
slower over strided views; 2 without a GPU or a package; 3 when the time did not suffice for
everything.  All are named.  What a library that is not installed would give is a row `skipped`.

`--dry-run` interprets everything on the CPU at tiny sizes: whether it runs and gives the right
results.  Its times mean nothing and are neither shown nor written.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.bars import below_the_bar, failed, is_figure
from benchmarks.gpu.budget import SECONDS, Budget
from benchmarks.gpu.machine import ROOT, describe, missing, this_run
from benchmarks.gpu.report import Report, table
from benchmarks.gpu.sections import Section, go_through

SECTIONS = ("extents", "arena", "states", "transfers", "host", "loads", "steps", "attention")
NEEDED = ("torch", "triton", "numpy")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="one section; default: all")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, interpreted, no GPU")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the JSON")
    parser.add_argument(
        "--budget-s", type=float, default=SECONDS, help="seconds for all of it (%(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    budget = Budget(options.budget_s)
    # Triton reads this when it is imported.
    os.environ["TRITON_INTERPRET"] = "1" if options.dry_run else "0"
    # Of this checkout, installed or not.
    sys.path[:0] = [str(ROOT / part) for part in ("", "kernels", "launch", "patches")]
    if absent := missing(NEEDED):
        print(f"not installed: {', '.join(absent)}; nothing was measured", file=sys.stderr)
        return 2
    import torch

    if not options.dry_run and not torch.cuda.is_available():
        print(
            f"no GPU: torch {torch.__version__} sees none; nothing was measured "
            f"(--dry-run tries the code on the CPU)",
            file=sys.stderr,
        )
        return 2
    names = [options.only] if options.only else list(SECTIONS)
    return verdict(_dry(names, budget) if options.dry_run else _measured(options, names, budget))


def _dry(names: list[str], budget: Budget) -> list[Section]:
    import torch

    from benchmarks.gpu.bench import DRY, Bench

    bench = Bench(torch.device("cpu"), DRY)
    sections = []
    for section in go_through(names, lambda name: _measure(name, bench), budget):
        print(f"DRY RUN, not a measurement: {section.name}: {dry_line(section)}", flush=True)
        # Its times would be held against nothing.
        sections.append(section._replace(rows=[r for r in section.rows if not is_figure(r)]))
    return sections


def dry_line(section: Section) -> str:
    """How many rows came out right, and what about the others."""
    right = sum(map(is_figure, section.rows))
    said = f"{right} rows, results are right" if right else "0 rows"
    others = [
        f"{row['row']}: " + (f"skipped: {row['skipped']}" if "skipped" in row else "FAILED")
        for row in section.rows
        if not is_figure(row)
    ]
    return "; ".join([said, *others, *([section.why_not] if section.why_not else ())])


def _measured(options: argparse.Namespace, names: list[str], budget: Budget) -> list[Section]:
    import torch

    from benchmarks.gpu.bench import FULL, Bench

    bench = Bench(torch.device("cuda", torch.cuda.current_device()), FULL)
    machine, run = describe(), this_run()
    report = Report(options.out / "gpu.json", machine, run, keep=bool(options.only))
    for key, value in (machine | run).items():
        print(f"{key}: {value}")
    sections = []
    for section in go_through(names, lambda name: _measure(name, bench), budget):
        sections.append(section)
        report.add(*section)
        print(f"\n{section.name}\n{table(section.rows)}", flush=True)
        # A section needs what the one before has left unused.
        torch.cuda.empty_cache()
    print(f"\nwritten to {report.path}")
    return sections


def _measure(section: str, bench: Any) -> Iterable[dict[str, Any]]:
    rows: Iterable[dict[str, Any]] = import_module(f"benchmarks.gpu.{section}").measure(bench)
    return rows


def verdict(sections: list[Section]) -> int:
    """Says what is wrong or was not measured, and gives the exit code."""
    found = {section.name: section.rows for section in sections}
    wrong = [f"failed: {line}" for line in failed(found)]
    wrong += [f"below the bar: {line}" for line in below_the_bar(found)]
    undone = [f"not measured: {s.name}: {s.why_not}" for s in sections if s.why_not]
    for line in (*wrong, *undone):
        print(line, file=sys.stderr)
    return 1 if wrong else 3 if undone else 0


if __name__ == "__main__":
    sys.exit(main())
