"""`python -m benchmarks.policy.run`: play every cell, print tables, write `policy.json`.

Results are kept in `cells/` beside it, so a run that was stopped goes on where it stood.
Exit code 2 for what is missing or wrong, 1 with --fail-on-targets when a target is missed or was
not checked, or a cell is open.
See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import arguments
from benchmarks.policy import ample, report
from benchmarks.policy.contenders import (
    DEFAULT_RATIO,
    RATIOS,
    Entry,
    Played,
    contenders,
    play,
    static_name,
)
from benchmarks.policy.inputs import (
    HOST_TIMES,
    MODELS,
    TRACES,
    Cell,
    Requests,
    Task,
    find_traces,
)
from benchmarks.policy.store import Store, key_of
from benchmarks.policy.targets import Row, Target, failed, targets
from benchmarks.process import set_up_process
from cachepawl.errors import CachepawlError
from cachepawl.offline.render import to_html, to_markdown
from cachepawl.policy import DEFAULT, POLICIES

BEST = "sglang-best-static"
QUICK_LIMIT, QUICK_BUDGETS, QUICK_RATIOS = 500, 2, (0.25, 0.9)
"""Requests of each trace, budgets from the smallest, and splits of a quick run."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy.run", description=__doc__)
    add = parser.add_argument
    add("--traces", type=Path, help="folder of traces; default: shared/traces above this folder")
    add("--trace", action="append", choices=TRACES, help="one trace, or several; default: all")
    add("--model", action="append", choices=MODELS, help="one geometry or several; default: all")
    add("--policy", action="append", help="contenders, by name; default: all")
    add("--device-gb", type=arguments.numbers("--device-gb", arguments.MOST_GIB),
        help="GiB with commas between; default: five for each trace and model")  # fmt: skip
    add("--ratios", type=arguments.numbers("--ratios"),
        help="splits that sglang-best-static is the best of, with commas between")  # fmt: skip
    add("--half", choices=("all", "tuning", "held-out"), default="all",
        help="conversations: a fixed half of them by a hash of their ids")  # fmt: skip
    add("--limit", type=arguments.count("--limit"), help="requests of each trace at most")
    add("--ample-host", action="store_true",
        help="only the cells whose host tier holds all that the trace publishes")  # fmt: skip
    add("--quick", action="store_true", help="a few hundred requests, two budgets, one model")
    add("--jobs", type=arguments.count("--jobs"), default=2, help="processes")
    add("--budget-s", type=arguments.number("--budget-s"),
        help="start no cell after so many seconds; the rest stays open")  # fmt: skip
    add("--candidate", default=DEFAULT,
        help="the policy that --fail-on-targets is about")  # fmt: skip
    add(
        "--fail-on-targets",
        action="store_true",
        help="exit 1 when the candidate misses a target, or one was not checked",
    )
    add("--out", type=Path, default=Path("build/bench"), help="folder for what is written")
    return parser.parse_args(argv)


def tasks_of(options: argparse.Namespace) -> Iterator[Task]:
    """All cells that are asked for: models after each other, small budgets first."""
    known = contenders(_ratios(options))
    wanted = _wanted(_names(options), known, _ratios(options))
    limit = QUICK_LIMIT if options.quick and options.limit is None else options.limit
    models = options.model or (list(MODELS)[:1] if options.quick else list(MODELS))
    names = options.trace or list(TRACES)
    for model in models:
        budgets = {name: _budgets(options, name, model) for name in names}
        for number in range(max(map(len, budgets.values()))):
            for name in names:
                requests = Requests(options.traces / TRACES[name].path, options.half, limit)
                for device, times in budgets[name][number : number + 1]:
                    for host in times:
                        for contender in wanted:
                            cell = Cell(name, model, device, host * device, contender)
                            if not host or known[contender].tiers:
                                yield Task(cell, requests)
        for name in names:
            requests = Requests(options.traces / TRACES[name].path, options.half, limit)
            yield Task(Cell(name, model, 0.0, 0.0, ample.EVERYTHING), requests)


Budget = tuple[float, Sequence[float]]
"""GiB on the device, and the host tiers beside it as multiples."""


def _budgets(options: argparse.Namespace, trace: str, model: str) -> list[Budget]:
    """The usual ones, then the one of which the host holds everything published."""
    share = MODELS[model].share
    large = ample.AMPLE_GB[trace] * share
    if options.ample_host:
        return [(large, (ample.TIMES,))]
    if options.device_gb:
        return [(gb, HOST_TIMES) for gb in options.device_gb]
    usual = [(gb * share, HOST_TIMES) for gb in TRACES[trace].device_gb]
    if options.quick:
        return usual[:QUICK_BUDGETS]
    known = any(gb == large and ample.TIMES in times for gb, times in usual)
    return usual if known else [*usual, (large, (ample.TIMES,))]


def _ratios(options: argparse.Namespace) -> Sequence[float]:
    """The default is always among them: what is best is never worse."""
    asked = options.ratios or (QUICK_RATIOS if options.quick else RATIOS)
    return sorted({*asked, DEFAULT_RATIO})


def _names(options: argparse.Namespace) -> list[str]:
    """Contenders that have rows: those asked for, or all, the splits as their best one."""
    known = [n for n in contenders(()) if n != static_name(DEFAULT_RATIO)]
    return options.policy or [static_name(DEFAULT_RATIO), BEST, *known]


def _wanted(names: list[str], known: dict[str, Any], ratios: Sequence[float]) -> list[str]:
    """Contenders to play; the best split is found by playing all of them."""
    wanted: list[str] = []
    for name in names:
        if name != BEST and name not in known:
            raise CachepawlError(f"--policy {name}: give some of {BEST}, "
                                 f"{', '.join(known)}")  # fmt: skip
        wanted += map(static_name, ratios) if name == BEST else [name]
    return list(dict.fromkeys(wanted))


class Progress(NamedTuple):
    """What is known after playing."""

    found: dict[Cell, Played]
    open: list[Cell]


def play_all(tasks: Sequence[Task], options: argparse.Namespace) -> Progress:
    """Every cell from the store, or played now in `--jobs` processes."""
    store, known = Store(options.out / "cells"), contenders(_ratios(options))
    keys = {task.cell: _key(task, known) for task in tasks}
    found = {cell: got for cell in keys if (got := store.get(keys[cell])) is not None}
    # Cells of one key have one result, played once.
    waiting = list({keys[task.cell]: task for task in tasks if task.cell not in found}.values())
    deadline = time.monotonic() + (options.budget_s or float("inf"))
    for task, played in _played(waiting, options, deadline):
        key = keys[task.cell]
        found |= {cell: played for cell in keys if keys[cell] == key}
        store.put(key, played)
        done = f"{len(found)} of {len(keys)}"
        print(f"{done}: {_words(task.cell)}: {_hit(played):.2%}", file=sys.stderr, flush=True)
    return Progress(found, [cell for cell in keys if cell not in found])


def _key(task: Task, known: Mapping[str, Entry]) -> str:
    if task.cell.contender == ample.EVERYTHING:
        return ample.key_of_everything(task)
    return key_of(task, known[task.cell.contender].family)


def _play(task: Task, ratios: Sequence[float]) -> Played:
    """A cell's figures, in this process or another."""
    asked = task.cell.contender == ample.EVERYTHING
    return ample.everything(task) if asked else play(task, ratios)


def _played(
    tasks: Sequence[Task], options: argparse.Namespace, deadline: float
) -> Iterator[tuple[Task, Played]]:
    """Results as they come; none is begun after the deadline."""
    ratios = _ratios(options)
    if options.jobs == 1:
        for task in tasks:
            if time.monotonic() > deadline:
                return
            yield task, _play(task, ratios)
        return
    # Spawned, not forked: the parent may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, initializer=set_up_process) as pool:
        queue = iter(tasks)
        running: dict[Any, Task] = {}
        while True:
            for task in islice(queue, options.jobs - len(running)):
                if time.monotonic() <= deadline:
                    running[pool.submit(_play, task, ratios)] = task
            if not running:
                return
            future = next(as_completed(running))
            yield running.pop(future), future.result()


def _words(cell: Cell) -> str:
    host = f" + {cell.host_gb:g} GiB" if cell.host_gb else ""
    return f"{cell.trace}, {cell.model}, {cell.device_gb:g} GiB{host}, {cell.contender}"


def _hit(played: Played) -> float:
    return played.hit / max(played.prompt, 1)


def rows_of(
    tasks: Sequence[Task], found: dict[Cell, Played], names: Sequence[str], ratios: Sequence[float]
) -> list[Row]:
    """Cells that were asked for by `names`, and of the splits the best one of each place."""
    splits = [static_name(ratio) for ratio in ratios]
    rows: list[Row] = []
    for task in tasks:
        cell = task.cell
        if cell in found and cell.contender in names:
            rows.append(_row(cell, found[cell]))
        if BEST in names and cell.contender == splits[-1]:
            tried = {name: found.get(cell._replace(contender=name)) for name in splits}
            played = {name: one for name, one in tried.items() if one is not None}
            if len(played) == len(splits):
                best = max(played, key=lambda name: played[name].hit)
                hits = {name: _hit(one) for name, one in played.items()}
                row = _row(cell._replace(contender=BEST), played[best])
                rows.append(row | {"chosen": best, "tried": hits})
    return sorted(rows, key=lambda row: (*_order(row), names.index(row["policy"])))


def published(found: Mapping[Cell, Played]) -> dict[tuple[str, str], int]:
    """Bytes of everything that is ever published, by trace and geometry."""
    return {
        (cell.trace, cell.model): one.notes["published_bytes"]
        for cell, one in found.items()
        if cell.contender == ample.EVERYTHING
    }


def _order(row: Row) -> tuple[int, int, float, float]:
    """Rows of one place stay together, in the contenders' order."""
    models, traces = list(MODELS), list(TRACES)
    return (models.index(row["geometry"]), traces.index(row["trace"]), row["device_gb"],
            row["host_gb"])  # fmt: skip


def _row(cell: Cell, played: Played) -> Row:
    us = None if played.seconds is None else 1e6 * played.seconds / max(played.requests, 1)
    return {
        "trace": cell.trace,
        "geometry": cell.model,
        "device_gb": cell.device_gb,
        "host_gb": cell.host_gb,
        "policy": cell.contender,
        "token_hit": _hit(played),
        "flops_saved": played.flops_saved,
        "us_per_request": us,
        "hit_tokens": played.hit,
        "prompt_tokens": played.prompt,
        "requests": played.requests,
        "refused_requests": played.refused,
        **played.notes,
    }


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return _run(parse_arguments(argv))
    except CachepawlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    from benchmarks.machine import describe_machine  # after the process was set up

    if options.candidate not in POLICIES:
        raise CachepawlError(f"--candidate {options.candidate}: no such policy; give one of "
                             f"{', '.join(POLICIES)}")  # fmt: skip
    options.traces = options.traces or find_traces()
    if options.traces is None:
        raise CachepawlError("no traces: no folder shared/traces above this one; give --traces "
                             "DIR with " + ", ".join(t.path for t in TRACES.values()))  # fmt: skip
    tasks = list(tasks_of(options))
    missing = sorted({str(t.requests.path) for t in tasks if not t.requests.path.is_file()})
    if missing:
        raise CachepawlError(f"no such trace: {', '.join(missing)}; give --traces DIR, or --trace "
                             f"for those that are there")  # fmt: skip
    played = play_all(tasks, options)
    rows = rows_of(tasks, played.found, _names(options), _ratios(options))
    shown = {row["policy"] for row in rows}
    if options.fail_on_targets:  # a candidate that was not played is one that was not checked
        shown.add(options.candidate)
    told = targets(rows, [name for name in POLICIES if name in shown], options.half,
                   published(played.found))  # fmt: skip
    left = [f"{len(played.open)} cells for want of time"] if played.open else []
    page = report.document(rows, told, options.half, left)
    written = {
        "cells": rows,
        "targets": [target._asdict() for target in told],
        "open": [cell._asdict() for cell in played.open],
        "published_bytes": {", ".join(k): n for k, n in published(played.found).items()},
        "half": options.half,
        "limit": tasks[0].requests.limit,
        "machine": describe_machine(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "policy.json").write_text(json.dumps(written, indent=1) + "\n")
    (options.out / "policy.md").write_text(to_markdown(page))
    (options.out / "policy.html").write_text(to_html(page))
    print(to_markdown(page))
    missed = [_why(target) for target in failed(told, options.candidate)]
    missed += [f"not played for want of time: {_words(cell)}" for cell in played.open]
    if missed and options.fail_on_targets:
        print("\n".join(missed))
        return 1
    return 0


def _why(target: Target) -> str:
    """Why a target counts as failed."""
    if target.number is None:
        return f"target not checked of {target.policy}: {target.name}: no cell tells"
    return (f"target missed by {target.policy}: {target.name}: {target.number:.3f}, not "
            f"{target.limit:g}")  # fmt: skip


if __name__ == "__main__":
    set_up_process()
    sys.exit(main())
