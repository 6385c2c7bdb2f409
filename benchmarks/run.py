"""`python -m benchmarks.run`: measure, print tables, write JSON.

Writes `tree.json`, `scale.json`, `alloc.json` and `machine.json` to `--out`.  Exit code 1 when a
tree row of ours is not below SGLang's Python core; the rows are named.  See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.process import set_up_process
from cachepawl import collector

PAGES = (1, 16, 64)
QUICK_PAGES = (64,)
PARTS = ("tree", "scale", "alloc")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part; default: all")
    parser.add_argument(
        "--quick", action="store_true", help=f"page {QUICK_PAGES[0]} and few calls: rough figures"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    collector.rest()
    # Only now: torch reads the environment when it is imported.
    from benchmarks import bench_alloc, bench_scale, bench_tree, tables
    from benchmarks.machine import describe_machine
    from benchmarks.workload import FULL, QUICK

    collector.resume()  # what is timed is timed without it

    console = Console(width=None if sys.stdout.isatty() else 120)
    parts = [options.only] if options.only else list(PARTS)
    pages = QUICK_PAGES if options.quick else PAGES
    machine = describe_machine()
    too_slow: list[dict[str, Any]] = []
    with Console(stderr=True).status("importing") as status:
        if "tree" in parts:
            shape = QUICK if options.quick else FULL
            tree, no_rust = bench_tree.measure_all(pages, shape, status.update)
            machine["rust_core"] = no_rust or "measured"
            too_slow = bench_tree.above_the_bar(tree)
            write_json(options.out / "tree.json", tree)
        if "scale" in parts:
            sizes, million = bench_scale.measure_all(options.quick, status.update)
            write_json(options.out / "scale.json", {"sizes": sizes, "million_tokens": million})
        if "alloc" in parts:
            calls = bench_alloc.QUICK_CALLS if options.quick else bench_alloc.CALLS
            alloc = bench_alloc.measure_all(pages, calls, status.update)
            write_json(options.out / "alloc.json", alloc)
    write_json(options.out / "machine.json", machine)

    if "tree" in parts:
        tables.show_tree(console, tree)
        if no_rust:
            console.print(f"SGLang's Rust core is left out: {no_rust}")
    if "scale" in parts:
        tables.show_rows(console, "Trees of several sizes, bare tree, page 16", sizes)
        tables.show_rows(console, "One prompt of a million tokens, key making included", million)
    if "alloc" in parts:
        tables.show_alloc(console, alloc)
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), soft_wrap=True)
    for row in too_slow:
        console.print(
            f"not below SGLang's Python core: {row['row']}, page {row['page']}: "
            f"{row['ours_us']} µs, not below {row['python_us']} µs"
        )
    return 1 if too_slow else 0


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    set_up_process()
    sys.exit(main())
