"""`python -m benchmarks.gpu.run`: measure the kernels on a GPU, print tables, write JSON.

Writes `gpu.json` to `--out`: the figures and the GPU, driver and versions they belong to.  Every
result is checked before it is timed.  Exit code 2 without a GPU; 1 when a copy of extents of
64 KiB or more is below 90 % of a device-to-device copy (75 % at 16 KiB), the server's own copies
are below 90 %, pages or states between the tiers are below 90 % of a plain pinned copy, a step
waits for the device, or attention is more than 5 % slower over strided views; the rows are named.

`--dry-run` interprets everything on the CPU at tiny sizes: whether it runs and gives the right
results.  Its times mean nothing and are neither shown nor written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SECTIONS = ("extents", "arena", "states", "transfers", "host", "loads", "steps", "attention")
PACKAGES = ("torch", "triton", "sglang", "flashinfer-python", "cachepawl")
BARS = ((64 * 1024, 0.9), (16 * 1024, 0.75))
"""From so many bytes an extent, at least this share of one device-to-device copy."""
FROM_BYTES, MOST_RATIO = 64 * 1024, 1.05
LEAST_OF_PINNED = 0.9
MOST_BLOCKED = 0.1
"""Of the device's work that is queued: a step that waits for any of it waits for nearly all."""
MOST_EXPOSED = 0.5
"""Of a load by layers that a forward waits for; the forward is long enough to hide all of it."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="one section; default: all")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, interpreted, no GPU")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    # Triton reads this when it is imported.
    os.environ["TRITON_INTERPRET"] = "1" if options.dry_run else "0"
    import torch

    from benchmarks.gpu.bench import DRY, FULL, Bench

    sections = [options.only] if options.only else list(SECTIONS)
    if options.dry_run:
        bench = Bench(torch.device("cpu"), DRY)
        for section in sections:
            rows = _measure(section, bench)
            print(f"DRY RUN, not a measurement: {section}: {len(rows)} rows, results are right")
        return 0
    if not torch.cuda.is_available():
        print(
            f"no GPU: torch {torch.__version__} sees none; nothing was measured "
            f"(--dry-run tries the code on the CPU)",
            file=sys.stderr,
        )
        return 2
    bench = Bench(torch.device("cuda", torch.cuda.current_device()), FULL)
    found = {section: _measure(section, bench) for section in sections}
    _write(options.out / "gpu.json", {"machine": describe(), **found})
    for section, rows in found.items():
        print(f"\n{section}")
        for row in rows:
            print("  " + ", ".join(f"{key} {value}" for key, value in row.items()))
    missed = below_the_bar(found)
    for line in missed:
        print(f"below the bar: {line}", file=sys.stderr)
    return 1 if missed else 0


def _measure(section: str, bench: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = import_module(f"benchmarks.gpu.{section}").measure(bench)
    return rows


def least_share(extent_bytes: int) -> float:
    """The bar for copies of extents of this size; 0 where there is none."""
    return next((share for size, share in BARS if extent_bytes >= size), 0.0)


def below_the_bar(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Rows that miss a target, each with its figure."""
    copies = [
        f"copy of extents of {row['extent_bytes']} bytes: {row['of_copy']:.0%} of one copy"
        for row in found.get("extents", [])
        if row["row"] == "copy" and row["of_copy"] < least_share(row["extent_bytes"])
    ]
    copies += [
        f"{row['row']}: {row['of_copy']:.0%} of one copy"
        for row in found.get("arena", [])
        if row["of_copy"] < BARS[0][1] and not row["row"].startswith("clear")
    ]
    slower = [
        f"{row['row']}: {row['ratio']} times the contiguous time"
        for row in found.get("attention", [])
        if row["ratio"] > MOST_RATIO
    ]
    return copies + _between_tiers(found) + slower


def _between_tiers(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    narrow = [
        f"{row['row']} by {row['by']}: {row['of_pinned']:.0%} of a pinned copy"
        for row in found.get("host", [])
        if row["chosen"] and row["extent_bytes"] >= FROM_BYTES
        if row["of_pinned"] < LEAST_OF_PINNED
    ]
    waits = [
        f"{row['row']}: the host was held for {row['blocked']:.0%} of the device's work"
        for row in found.get("loads", [])
        if row.get("blocked", 0) > MOST_BLOCKED
    ]
    exposed = [
        f"{row['row']}: {row['exposed']:.0%} of it is not hidden behind a forward of "
        f"{row['forward_us'] / row['load_us']:.1f} times its length"
        for row in found.get("loads", [])
        if row["row"].startswith("load layers") and row["exposed"] > MOST_EXPOSED
    ]
    return narrow + exposed + waits


def describe() -> dict[str, Any]:
    """The GPU and all that its figures depend on."""
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        **{name: _version(name) for name in PACKAGES},
    }


def _driver() -> str | None:
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0].strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
