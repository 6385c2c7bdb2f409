"""`python -m benchmarks.capacity.run`: play, print a table, write `capacity.json`.

Exit code 1 when a target is missed; the cells are named.  See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.capacity.arena import Evacuating, Frames
from benchmarks.capacity.counted import fluid, static
from benchmarks.capacity.play import play
from benchmarks.capacity.policy import Layout
from benchmarks.capacity.two_ends import TwoEnds
from benchmarks.capacity.workload import LONG, SHORT, STATES, arrivals
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import Geometry
from cachepawl.specs.presets import preset

MODELS = (
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "Qwen/Qwen3.5-9B",
    "nvidia/Nemotron-H-8B-Base-8K",
    "ai21labs/Jamba-v0.1",
    "Zyphra/Zamba2-7B",
)
PAGE = 16
BUDGET = 40 << 30
WORKLOADS = {"running": False, "cached": True}
"""Whether what has ended stays cached until its room is wanted."""
SHARES = tuple(n / 20 for n in range(1, 20))
CAPACITY, MOVED, BURST_FRAMES = 0.97, 0.15, 2
"""Targets: of the fluid's live bytes at least, of the two ends' moves at most, frames a burst."""
Cell = dict[str, Any]


def layouts(geometry: Geometry, budget: int) -> Iterator[Callable[[], Layout]]:
    """Makers of all layouts but the static splits."""
    yield lambda: fluid(geometry, budget)
    yield lambda: Frames(geometry, budget)
    yield lambda: Evacuating(geometry, budget)
    yield lambda: TwoEnds(geometry, budget)


def measure(name: str, budget: int, note: Callable[[str], None]) -> Iterator[tuple[Cell, Layout]]:
    """The cells of one model."""
    geometry = geometry_from_spec(preset(name).spec(), PAGE)
    at_once = {n: requests_at_once(geometry, budget, n) for n in (SHORT, LONG)}
    requests = list(arrivals(PAGE, at_once))
    for workload, keep in WORKLOADS.items():

        def cell(layout: Layout, workload: str = workload, keep: bool = keep) -> Cell:
            note(f"{name}: {workload}, {layout.name}")
            played = play(layout, requests, budget, keep=keep)
            return {
                "geometry": name,
                "workload": workload,
                "policy": layout.name,
                "live_fraction": round(played.live_fraction, 5),
                "bytes_moved": layout.bytes_moved,
                "worst_burst_bytes": layout.worst_burst_bytes,
            }

        for make in layouts(geometry, budget):
            layout = make()
            yield cell(layout), layout
        splits = [static(geometry, budget, share) for share in SHARES]
        serving = [split for split in splits if all(split.serves(r) for r in requests)]
        yield max(((cell(s), s) for s in serving), key=lambda pair: pair[0]["live_fraction"])


def requests_at_once(geometry: Geometry, budget: int, context: int) -> int:
    """Requests of a context that bytes alone would let run together."""
    one = STATES * geometry.state_bytes + geometry.pages_of(context) * geometry.page_bytes
    return budget // one


def times_of(layout: Evacuating) -> dict[str, int]:
    """CPU time of its bursts, in µs."""
    times = sorted(round(seconds * 1e6) for seconds in layout.decisions)
    return {"bursts": len(times), "median_us": times[len(times) // 2], "longest_us": times[-1]}


def missed(cells: list[Cell], frame_bytes: dict[str, int]) -> list[str]:
    """The targets that evacuation misses, in words."""
    out = []
    by = {(c["geometry"], c["workload"], c["policy"]): c for c in cells}
    for (name, workload, policy), ours in by.items():
        if policy != "evacuation":
            continue
        where = f"{name}, {workload}"
        ideal, theirs = by[name, workload, "fluid"], by[name, workload, "two ends"]
        share = ours["live_fraction"] / ideal["live_fraction"]
        if share < CAPACITY:
            out.append(f"{where}: {share:.1%} of the ideal fluid, below {CAPACITY:.0%}")
        if ours["bytes_moved"] > MOVED * theirs["bytes_moved"]:
            out.append(f"{where}: {ours['bytes_moved']} bytes moved, above {MOVED:.0%} of "
                       f"{theirs['bytes_moved']}")  # fmt: skip
        if ours["worst_burst_bytes"] > BURST_FRAMES * frame_bytes[name]:
            out.append(f"{where}: a burst of {ours['worst_burst_bytes']} bytes")
    return out


def show(console: Console, cells: list[Cell], budget: int) -> None:
    """The table that people read."""
    table = Table(title=f"{budget / 2**30:g} GiB, page {PAGE}", title_justify="left")
    for heading in ("model", "workload", "policy", "live", "of fluid", "moved GiB", "burst MiB"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    ideal = {(c["geometry"], c["workload"]): c["live_fraction"] for c in cells
             if c["policy"] == "fluid"}  # fmt: skip
    for c in cells:
        share = c["live_fraction"] / ideal[c["geometry"], c["workload"]]
        table.add_row(c["geometry"].partition("/")[2], c["workload"], c["policy"],
                      f"{c['live_fraction']:.1%}", f"{share:.1%}",
                      f"{c['bytes_moved'] / 2**30:.1f}",
                      f"{c['worst_burst_bytes'] / 2**20:.0f}")  # fmt: skip
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity.run", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for the JSON")
    parser.add_argument("--model", action="append", help="a preset; default: five of them")
    parser.add_argument("--gib", type=float, default=BUDGET / 2**30, help="the budget")
    options = parser.parse_args(argv)
    budget = int(options.gib * 2**30)
    cells: list[Cell] = []
    decisions: list[dict[str, Any]] = []
    frame_bytes: dict[str, int] = {}
    with Console(stderr=True).status("playing") as status:
        for model in options.model or MODELS:
            name = preset(model).name
            frame_bytes[name] = geometry_from_spec(preset(name).spec(), PAGE).frame_bytes
            for cell, layout in measure(name, budget, status.update):
                cells.append(cell)
                if isinstance(layout, Evacuating) and layout.decisions:
                    where = {key: cell[key] for key in ("geometry", "workload")}
                    decisions.append(where | times_of(layout))
    options.out.mkdir(parents=True, exist_ok=True)
    found = {"cells": cells, "decisions": decisions, "budget_bytes": budget}
    (options.out / "capacity.json").write_text(json.dumps(found, indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 120)
    show(console, cells, budget)
    for row in decisions:
        console.print(
            f"{row['geometry']}, {row['workload']}: {row['bursts']} bursts, decided in "
            f"{row['median_us']} µs (median), {row['longest_us']} µs (longest)",
            soft_wrap=True,
        )
    failures = missed(cells, frame_bytes)
    for line in failures:
        console.print(f"target missed: {line}", soft_wrap=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
