"""`python -m benchmarks.served.run`: trace slices on real servers, stock SGLang and cachepawl.

Real SGLang servers on the CPU with a tiny random model, one stock and one with cachepawl for each
policy, in the same bytes; the same requests, as the trace spaces them, to all at the same time.
Writes `served.json`.  Times hold beside each other in one run alone.  See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import arguments
from benchmarks.machine import describe_machine
from benchmarks.policy.inputs import find_traces
from benchmarks.served import expected
from benchmarks.served.load import Job
from benchmarks.served.slices import CHUNK, CONTEXT, FAMILY, PAGE, RUNNING, SLICES, Slice
from benchmarks.servers import ask, cpu_seconds, spawned
from benchmarks.tables import show_rows
from cachepawl.errors import CachepawlError
from cachepawl.policy import POLICIES
from cachepawl_launch.cpu.flags import Limits, serve_args
from cachepawl_launch.demo.server import Server, choose_port

MOST_OPEN = 64
"""Requests that wait for an answer at once, at most."""
STOCK = "sglang"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served.run", description=__doc__)
    add = parser.add_argument
    add("--traces", type=Path, help="folder; default: shared/traces above this one")
    add("--trace", action="append", choices=SLICES, help="default: all")
    add("--policy", action="append", choices=POLICIES, help="default: all")
    add("--requests", type=arguments.count("--requests"), default=320, help="of each trace")
    add("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args(argv)


def server_of(who: str, size: Slice, model: Path, folder: Path) -> AbstractContextManager[Server]:
    """A ready server: stock, or cachepawl under a policy, in the same bytes."""
    limits = Limits(size.tokens, size.states, RUNNING, CONTEXT, CHUNK)
    more: list[str] = []
    entry = ["sglang.launch_server"]
    if who != STOCK:
        limits = Limits(None, None, RUNNING, CONTEXT, CHUNK)
        more = ["--cachepawl-device-gb", f"{size.memory_bytes / 2**30:.12f}",
                "--cachepawl-policy", who]  # fmt: skip
        entry = ["cachepawl.launch_server", "--cachepawl-cpu"]
    port = choose_port(None)
    command = [sys.executable, "-m", *entry, "--model-path", str(model.resolve()),
               "--host", "127.0.0.1", "--port", str(port),
               *serve_args(FAMILY, PAGE, limits=limits), *more]  # fmt: skip
    return spawned(command, port, folder / f"{size.trace}-{who}.log")


class Answered(NamedTuple):
    """What came of one job."""

    hit: int
    """Tokens."""
    seconds: float
    """From its sending to its whole answer."""


def play(server: Server, jobs: Sequence[Job]) -> list[Answered]:
    """All jobs, each sent at its time whether or not others have been answered."""
    started = time.perf_counter()
    with ThreadPoolExecutor(MOST_OPEN) as pool:
        asked = []
        for job in jobs:
            time.sleep(max(0.0, started + job.at - time.perf_counter()))
            asked.append(pool.submit(_timed, server, job))
        return [one.result() for one in asked]


def _timed(server: Server, job: Job) -> Answered:
    started = time.perf_counter()
    hit = ask(server.client.url, job.ids, job.answer)["meta_info"]["cached_tokens"]
    return Answered(hit, time.perf_counter() - started)


def rows_of(
    size: Slice, jobs: Sequence[Job], names: Sequence[str], work: Path
) -> list[dict[str, Any]]:
    """Figures of all servers on a slice, which they play at the same time; and of replays."""
    model = size.model(work)
    with ExitStack() as stack, ThreadPoolExecutor(len(names)) as pool:
        servers = []
        for who in names:  # one after the other: starting takes a core, and playing little of one
            print(f"{size.trace}: {who} starts", file=sys.stderr, flush=True)
            servers.append(stack.enter_context(server_of(who, size, model, work)))
        for server in servers:
            ask(server.client.url, [5, 6, 7], 1)  # what is made when first needed
        print(f"{size.trace}: {jobs[-1].at:.0f} s", file=sys.stderr, flush=True)
        pids = [server.process.pid for server in servers]
        cpu = [cpu_seconds(pid) for pid in pids]
        played = list(pool.map(lambda server: play(server, jobs), servers))
        spent = [cpu_seconds(pid) - before for pid, before in zip(pids, cpu, strict=True)]
    return [
        _row(who, size, jobs, done, 1000 * busy / len(jobs), model)
        for who, done, busy in zip(names, played, spent, strict=True)
    ]


def _row(
    who: str, size: Slice, jobs: Sequence[Job], done: Sequence[Answered], cpu_ms: float, model: Path
) -> dict[str, Any]:
    prompt, cached = sum(len(job.ids) for job in jobs), sum(one.hit for one in done)
    replayed = expected.stock(size, jobs) if who == STOCK else expected.ours(size, model, who, jobs)
    took = sorted(1000 * one.seconds for one in done)
    return {
        "trace": size.trace,
        "server": who,
        "requests": len(jobs),
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "recomputed_tokens": prompt - cached,
        "token_hit": round(cached / prompt, 5),
        "replayed_hit": round(replayed / prompt, 5),
        "ms_mean": round(sum(took) / len(took), 1),
        "ms_median": round(took[len(took) // 2], 1),
        "cpu_ms": round(cpu_ms, 1),
    }


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each trace and server."""
    folder = options.traces or find_traces()
    if folder is None:
        raise CachepawlError("no traces: no folder shared/traces above this one; give --traces DIR")
    sizes = [SLICES[name] for name in dict.fromkeys(options.trace or SLICES)]
    loads = [size.jobs(folder, options.requests) for size in sizes]
    work = options.out / "served"
    work.mkdir(parents=True, exist_ok=True)
    names = (STOCK, *(options.policy or POLICIES))
    rows = [rows_of(size, jobs, names, work) for size, jobs in zip(sizes, loads, strict=True)]
    return [row for some in rows for row in some]


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    try:
        rows = measure(options)
    except CachepawlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    slices = {name: size._asdict() | {"memory_bytes": size.memory_bytes, "tokens": size.tokens,
                                      "states": size.states, "full_state": size.full_state}
              for name, size in SLICES.items()}  # fmt: skip
    found = {"cells": rows, "slices": slices, "machine": describe_machine()}
    (options.out / "served.json").write_text(json.dumps(found, indent=1) + "\n")
    show_rows(Console(), f"{FAMILY}, page {PAGE}", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
