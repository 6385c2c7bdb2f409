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

import requests
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.policy.inputs import TRACES, Requests, conversation_of, find_traces
from benchmarks.served.load import Job, scaled
from benchmarks.tables import show_rows
from cachepawl.errors import CachepawlError
from cachepawl.policy import POLICIES
from cachepawl_launch.cpu.flags import Limits, serve_args, serve_env
from cachepawl_launch.cpu.tiny import make_tiny
from cachepawl_launch.demo.server import Server, choose_port, running

FAMILY, PAGE = "nemotron_h", 1
"""At page 1 the tiny model's states fill their frames, as real models' nearly do at page 16."""
ENTRY, STATE = 512, 11264
"""Bytes of a token's KV and of a state of that model, as the server prints them."""
SCALES = {"conversation": 16, "synthetic": 32, "claude-code": 128}
"""Tokens of a trace for one of the tiny model's: median prompts become some hundred."""
SAMPLES = {"conversation": 32, "synthetic": 32, "claude-code": 1}
"""One conversation in so many is played whole, so that turns follow while few have come between."""
TOKENS, STATES = 6400, 261
"""Stock's pools: 6 MiB at --mamba-full-memory-ratio 0.9."""
CONTEXT, CHUNK, AT_ONCE, RUNNING = 4096, 512, 8, 4
STOCK = "sglang"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served.run", description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder; default: shared/traces above this one")
    parser.add_argument("--trace", action="append", choices=SCALES, help="default: all")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="default: all")
    parser.add_argument("--requests", type=int, default=120, help="of each trace")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args(argv)


def jobs_of(folder: Path, name: str, count: int) -> list[Job]:
    """The load of one trace.  CachepawlError if it is not there."""
    path = folder / TRACES[name].path
    if not path.is_file():
        raise CachepawlError(f"no such trace: {path}; give --traces DIR")
    trace = Requests(path)
    block, one_in = trace.block_tokens, SAMPLES[name]
    some = (r for r in trace.play() if conversation_of(r, block) % one_in == 0)
    return scaled(some, SCALES[name], CONTEXT - 64, count)


@contextmanager
def server_of(who: str, folder: Path) -> Iterator[Server]:
    """A ready server: stock, or cachepawl under a policy, in the same bytes."""
    limits = Limits(TOKENS, STATES, RUNNING, CONTEXT, CHUNK)
    more: list[str] = []
    entry = ["sglang.launch_server"]
    if who != STOCK:
        limits = Limits(None, None, RUNNING, CONTEXT, CHUNK)
        # What stock reserves: KV with its padding page, states with their padding slot.
        size = ((TOKENS + PAGE) * ENTRY + (STATES + 1) * STATE) / 2**30
        more = ["--cachepawl-device-gb", f"{size:.9f}", "--cachepawl-policy", who]
        entry = ["cachepawl.launch_server", "--cachepawl-cpu"]
    port = choose_port(None)
    model = make_tiny(FAMILY, folder / "models")
    command = [sys.executable, "-m", *entry, "--model-path", str(model), "--host", "127.0.0.1",
               "--port", str(port), *serve_args(FAMILY, PAGE, limits=limits), *more]  # fmt: skip
    os.environ.update(serve_env())
    with running(command, port, (folder / f"{who}.log").resolve()) as server:
        server.wait_ready(lambda _: None)
        yield server


def play(server: Server, jobs: Sequence[Job]) -> dict[str, Any]:
    """All jobs, `AT_ONCE` in one message each; hits and time.  The cache is emptied before."""
    _flush(server)
    started = time.perf_counter()
    cached = 0
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        sampling = [{"temperature": 0, "max_new_tokens": job.answer, "ignore_eos": True}
                    for job in some]  # fmt: skip
        body = {"input_ids": [job.ids for job in some], "sampling_params": sampling}
        reply = requests.post(f"{server.client.url}/generate", json=body, timeout=600)
        reply.raise_for_status()
        cached += sum(answer["meta_info"]["cached_tokens"] for answer in reply.json())
    seconds = time.perf_counter() - started
    prompt = sum(len(job.ids) for job in jobs)
    return {
        "requests": len(jobs),
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "recomputed_tokens": prompt - cached,
        "token_hit": round(cached / prompt, 5),
        "ms_per_request": round(1000 * seconds / len(jobs), 1),
    }


def _flush(server: Server) -> None:
    for _ in range(400):  # SGLang answers 400 while it is busy
        if requests.post(f"{server.client.url}/flush_cache", timeout=60).ok:
            return
        time.sleep(0.05)
    raise CachepawlError("the server never became idle enough to flush its cache")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each trace and server; one server at a time."""
    folder = options.traces or find_traces()
    if folder is None:
        raise CachepawlError("no traces: no folder shared/traces above this one; give --traces DIR")
    loads = {name: jobs_of(folder, name, options.requests) for name in options.trace or SCALES}
    work = options.out / "served"
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for who in (STOCK, *(options.policy or POLICIES)):
        with server_of(who, work) as server:
            for name, jobs in loads.items():
                print(f"{who}: {name}", file=sys.stderr, flush=True)
                rows.append({"trace": name, "server": who} | play(server, jobs))
    return sorted(rows, key=lambda row: list(loads).index(row["trace"]))


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    try:
        rows = measure(options)
    except CachepawlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    memory = (TOKENS + PAGE) * ENTRY + (STATES + 1) * STATE
    found = {"cells": rows, "memory_bytes": memory, "machine": describe_machine()}
    (options.out / "served.json").write_text(json.dumps(found, indent=1) + "\n")
    show_rows(Console(), f"{memory / 2**20:.1f} MiB, {FAMILY}, page {PAGE}", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
