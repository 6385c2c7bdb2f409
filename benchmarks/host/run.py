"""`python -m benchmarks.host.run`: our host tier and SGLang's, on the same requests and bytes.

SGLang's tree with its host cache, in this process as its scheduler drives it, and ours; both copy
real bytes of a small model between tensors of this machine.  Writes `host.json`.  See
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.host import model
from benchmarks.host.ours import HostScenario, OurServer, Snapshots
from benchmarks.machine import describe_machine
from benchmarks.policy.inputs import CONTEXT, TRACES, Requests, find_traces, spec_of
from benchmarks.tables import show_rows
from cachepawl.errors import CachepawlError
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.types import TOKEN_BYTES

SCALE = 64
"""Bytes of Qwen3-Next for one of the small model's."""
CHUNK = 8192
LONGEST = 131_072
"""Tokens of a prompt: SGLang's share for KV holds no longer ones, so they are left out for all."""
DEVICE_MB = {"claude-code": 160, "conversation": 320, "synthetic": 320}
"""MiB: 10 GiB and 20 GiB of the large model."""


class Row(NamedTuple):
    """What one of them did with a trace; tokens, bytes, and CPU milliseconds a request."""

    who: str
    hit: float
    """Share of the prompt tokens."""
    from_host: int
    """Tokens that the host gave back."""
    loads: int
    loaded: int
    """Bytes copied to the device."""
    bytes_a_token: float
    """Of those, for each token that the host gave back."""
    written: int
    refused: int
    ms: float
    """CPU time without the copies."""
    copy_ms: float


class Sums:
    """Over the requests of a trace."""

    def __init__(self) -> None:
        self.prompt = self.hit = self.from_host = self.refused = self.count = 0
        self.seconds = 0.0

    def add(self, prompt: int, usable: int, from_host: int, *, fits: bool = True) -> None:
        self.count += 1
        self.prompt += prompt
        self.hit += usable
        self.from_host += from_host
        self.refused += not fits

    def row(self, who: str, loads: int, copied: dict[str, int], copy_seconds: float) -> Row:
        each = 1000 / max(1, self.count)
        return Row(
            who,
            round(self.hit / max(1, self.prompt), 4),
            self.from_host,
            loads,
            copied["load"],
            round(copied["load"] / max(1, self.from_host), 1),
            copied["write"],
            self.refused,
            round((self.seconds - copy_seconds) * each, 2),
            round(copy_seconds * each, 2),
        )


Play = Callable[[list[TraceRequest], int], Row]


def sglang(host_times: float, policy: str = "write_through") -> Play:
    """SGLang's own, with a host cache of so many times the device."""

    def play(requests: list[TraceRequest], budget: int) -> Row:
        # Only here: it brings torch and SGLang.
        from benchmarks.host.hicache import HiCacheServer, arguments, context
        from benchmarks.policy.sglang_server import ids_of
        from cachepawl_launch.cpu.host_copies import on_a_cpu

        args, sums = arguments(host_times, policy), Sums()
        with on_a_cpu() as copied, context(args):
            server = HiCacheServer(args, budget, chunk=CHUNK, longest=CONTEXT)
            for request in requests:
                prompt = ids_of(request.key.tokens)
                started = time.thread_time()
                done = server.serve_both(prompt, max(request.output - 1, 0))
                sums.seconds += time.thread_time() - started
                sums.add(len(prompt), done.usable, done.from_host, fits=done.fits)
        name = f"SGLang, {policy}" if host_times else "SGLang"
        return sums.row(name, server.loads, copied.bytes, copied.seconds)

    return play


def ours(
    host_times: float,
    writing: str = "write_through",
    snapshots: Snapshots = "ours",
    policy: str = "lru",
) -> Play:
    """Ours; `snapshots`: states where our server takes them, or only where SGLang does."""

    def play(requests: list[TraceRequest], budget: int) -> Row:
        scenario = HostScenario(
            spec_of("qwen3-next"), budget, page=model.PAGE, chunk=CHUNK, grid=model.GRID,
            host=int(host_times * budget), writing=writing, snapshots=snapshots, policy=policy,
        )  # fmt: skip
        server, sums = OurServer(scenario), Sums()
        for request in requests:
            started = time.thread_time()
            usable, from_host = server.serve(request)
            sums.seconds += time.thread_time() - started
            sums.add(len(request.key.tokens) // TOKEN_BYTES, usable, from_host)
        sums.refused = server.measures.total().refused
        name = f"cachepawl {policy}, {writing}" if host_times else f"cachepawl {policy}"
        name += ", SGLang's snapshots" if snapshots == "sglang" else ""
        return sums.row(name, server.loads, server.copied, server.copy_seconds)

    return play


CONTENDERS: tuple[Play, ...] = (
    sglang(0),
    sglang(4),
    sglang(4, "write_through_selective"),
    sglang(4, "write_back"),
    ours(0),
    ours(0, policy="joint"),
    ours(4),
    ours(4, policy="joint"),
    ours(4, snapshots="sglang"),
    ours(4, "write_through_selective"),
    ours(4, "write_back"),
    ours(4, "write_back", policy="joint"),
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host.run", description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder; default: shared/traces above this one")
    parser.add_argument(
        "--trace", action="append", choices=DEVICE_MB, help="default: claude-code and conversation"
    )
    parser.add_argument("--requests", type=int, default=200, help="of each trace")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args(argv)


def requests_of(folder: Path | None, name: str, count: int) -> list[TraceRequest]:
    """The first of a trace.  CachepawlError if it is not there."""
    path = None if folder is None else folder / TRACES[name].path
    if path is None or not path.is_file():
        raise CachepawlError(f"no such trace: {path or TRACES[name].path}; give --traces DIR")
    every = (r for r in Requests(path).play() if len(r.key.tokens) // TOKEN_BYTES <= LONGEST)
    return list(islice(every, count))


def main(argv: Sequence[str] | None = None) -> int:
    """All contenders on all traces; 2 where a trace is missing."""
    options, console = parse_arguments(argv), Console()
    found: dict[str, Any] = {"machine": describe_machine(), "scale": SCALE, "traces": {}}
    try:
        for name in options.trace or ("claude-code", "conversation"):
            budget = DEVICE_MB[name] << 20
            requests = requests_of(options.traces or find_traces(), name, options.requests)
            rows = []
            for play in CONTENDERS:
                rows.append(play(requests, budget)._asdict())
                console.print(rows[-1])
            found["traces"][name] = {
                "requests": len(requests), "device_bytes": budget, "host_bytes": 4 * budget,
                "rows": rows,
            }  # fmt: skip
            show_rows(console, f"{name}, {len(requests)} requests", rows)
    except CachepawlError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "host.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
