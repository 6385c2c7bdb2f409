"""`python -m benchmarks.served.run`: trace slices on real servers, stock SGLang and cachepawl.

A real SGLang server on the CPU with a tiny random model, once stock and once with cachepawl for
each policy, in the same bytes; the same requests, some at once.  Writes `served.json`.  Times
hold beside each other in one run alone.  See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.console import Console

from benchmarks import arguments
from benchmarks.machine import describe_machine
from benchmarks.policy.inputs import find_traces
from benchmarks.served import expected
from benchmarks.served.load import Job
from benchmarks.served.slices import CHUNK, CONTEXT, FAMILY, PAGE, RUNNING, SLICES, Slice
from benchmarks.tables import show_rows
from cachepawl.errors import CachepawlError
from cachepawl.policy import POLICIES
from cachepawl_launch.cpu.flags import Limits, serve_args, serve_env
from cachepawl_launch.demo.server import Server, choose_port, running

AT_ONCE = 8
"""Requests in one message."""
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


@contextmanager
def server_of(who: str, size: Slice, model: Path, folder: Path) -> Iterator[Server]:
    """A ready server: stock, or cachepawl under a policy, in the same bytes."""
    limits = Limits(size.tokens, size.states, RUNNING, CONTEXT, CHUNK)
    more: list[str] = []
    entry = ["sglang.launch_server"]
    if who != STOCK:
        limits = Limits(None, None, RUNNING, CONTEXT, CHUNK)
        # Rounded up, by less than a byte in a frame of thousands.
        more = ["--cachepawl-device-gb", f"{size.memory_bytes / 2**30:.12f}",
                "--cachepawl-policy", who]  # fmt: skip
        entry = ["cachepawl.launch_server", "--cachepawl-cpu"]
    port = choose_port(None)
    command = [sys.executable, "-m", *entry, "--model-path", str(model.resolve()),
               "--host", "127.0.0.1", "--port", str(port),
               *serve_args(FAMILY, PAGE, limits=limits), *more]  # fmt: skip
    os.environ.update(serve_env())
    with running(command, port, (folder / f"{size.trace}-{who}.log").resolve()) as server:
        server.wait_ready(lambda _: None)
        yield server


def play(server: Server, jobs: Sequence[Job]) -> tuple[list[int], list[float], dict[str, float]]:
    """All jobs, `AT_ONCE` in one message each, from an empty cache.

    Returns what each hit in tokens, when each was sent in seconds, and what one took on average.
    """
    _flush(server)
    hits: list[int] = []
    sent: list[float] = []
    started, cpu = time.perf_counter(), _cpu_seconds(server)
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        sampling = [{"temperature": 0, "max_new_tokens": job.answer, "ignore_eos": True}
                    for job in some]  # fmt: skip
        body = {"input_ids": [job.ids for job in some], "sampling_params": sampling}
        sent += [time.perf_counter()] * len(some)
        reply = requests.post(f"{server.client.url}/generate", json=body, timeout=600)
        reply.raise_for_status()
        hits += [answer["meta_info"]["cached_tokens"] for answer in reply.json()]
    spent = time.perf_counter() - started, _cpu_seconds(server) - cpu
    wall, busy = (round(1000 * seconds / len(jobs), 1) for seconds in spent)
    return hits, sent, {"ms_per_request": wall, "cpu_ms_per_request": busy}


def _cpu_seconds(server: Server) -> float:
    """CPU time of all the server's processes so far."""
    first = psutil.Process(server.process.pid)
    times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def _flush(server: Server) -> None:
    for _ in range(400):  # SGLang answers 400 while it is busy
        if requests.post(f"{server.client.url}/flush_cache", timeout=60).ok:
            return
        time.sleep(0.05)
    raise CachepawlError("the server never became idle enough to flush its cache")


def row_of(who: str, size: Slice, jobs: Sequence[Job], work: Path) -> dict[str, Any]:
    """A server's figures on a slice, and what a replay of the same says."""
    model = size.model(work)
    with server_of(who, size, model, work) as server:
        print(f"{size.trace}: {who}", file=sys.stderr, flush=True)
        hits, sent, times = play(server, jobs)
    prompt, cached = sum(len(job.ids) for job in jobs), sum(hits)
    replayed = (expected.stock(size, jobs) if who == STOCK
                else expected.ours(size, model, who, jobs, sent))  # fmt: skip
    return {
        "trace": size.trace,
        "server": who,
        "requests": len(jobs),
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "recomputed_tokens": prompt - cached,
        "token_hit": round(cached / prompt, 5),
        "replayed_hit": round(replayed / prompt, 5),
        **times,
    }


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each trace and server; one server at a time."""
    folder = options.traces or find_traces()
    if folder is None:
        raise CachepawlError("no traces: no folder shared/traces above this one; give --traces DIR")
    sizes = [SLICES[name] for name in dict.fromkeys(options.trace or SLICES)]
    loads = [size.jobs(folder, options.requests) for size in sizes]
    work = options.out / "served"
    work.mkdir(parents=True, exist_ok=True)
    names = (STOCK, *(options.policy or POLICIES))
    return [row_of(who, *both, work) for both in zip(sizes, loads, strict=True) for who in names]


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
