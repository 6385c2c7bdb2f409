"""`python tests/server/on_gpu.py`: the real server on a GPU, tiny models, as `test_hits` on a CPU.

Decode in CUDA graphs, page 16, float16, the arena small, every invariant checked at every step.

- hits: prompts are asked cold, repeated, continued, left half-way and answered; tokens served from
  the cache must be exactly those that they are on the CPU, and log-probabilities those of the cold
  answers up to `CLOSE`.  Then many at once in an arena too small for them.
- host: the crowd again, with a host tier from which second answers have their prefixes.
- control: a server restores wrong states on purpose: if that does not show, the comparison proves
  nothing.

A server is started for each.  By default every family is served once, attention backends in turn,
the host tier is tried with the first family and the control with each family that has states;
`--all` tries everything with every backend.

Exit code 0 all right; 1 with a line for every check that failed; 2 without a GPU; 3 when nothing
failed but the time (`--budget-s`) did not suffice, with a line for every check that was not made.
`--cpu` runs the same on the CPU platform, in float32: a trial of this file, not of a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Of this checkout, installed or not.
PARTS = [str(ROOT / part) for part in ("", "kernels", "launch", "patches")]
sys.path[:0] = PARTS

from benchmarks.gpu.machine import missing

NEEDED = ("torch", "triton", "sglang")
if __name__ == "__main__" and (absent := missing(NEEDED)):
    print(f"not installed: {', '.join(absent)}; nothing was served", file=sys.stderr)
    sys.exit(2)

import torch
from cells import CHUNK, Cell
from conversation import converse
from harness import Answer, Client, Server, launched, model_folder, tokens
from ports import free_port

from benchmarks.gpu.budget import SECONDS, Budget, OutOfTime
from benchmarks.gpu.report import write_json
from cachepawl_launch.cpu.flags import Limits, serve_args, serve_env
from cachepawl_launch.cpu.tiny import make_tiny
from cachepawl_launch.cpu.tiny_config import WIDE_FAMILIES, WITHOUT_STATES

CLOSE = 0.03
"""Of log-probabilities in float16: sums of other lengths are rounded in other places."""
BACKENDS = ("flashinfer", "triton")
PAGE = 16
ARENA = {"cuda": "0.1", "cpu": "0.02"}
"""GiB.  Wide models have larger states than those of the CPU's tests."""
LIMITS = Limits(None, None, requests=12, context=4096, chunked_prefill=CHUNK)
CHECKED = ["--cachepawl-check-level", "2"]
CORRUPT = ["--cachepawl-corrupt-restored-state"]
HOST = ["--cachepawl-host-gb", "8x"]
CAPTURED = "Capture target decode CUDA graph end"
DECODED = re.compile(r"Decode batch.*?cuda graph: (True|False)")
"""SGLang's words in its log for graphs that it has captured, and for steps of decode."""
LOG_EVERY = 10


class Run(NamedTuple):
    """A family on a device with an attention backend."""

    family: str
    backend: str
    device: str

    @property
    def cell(self) -> Cell:
        return Cell(self.family, PAGE)

    def __str__(self) -> str:
        return f"{self.family}, {self.backend} attention, {self.device}"


def distance(one: Answer, other: Answer) -> float:
    """Largest difference of log-probabilities, as far as the two have read the same tokens.

    Behind the first token in which they differ there is nothing to compare.
    """
    found = 0.0
    columns = (one.ids, other.ids, one.logprobs, other.logprobs)
    for mine, theirs, a, b in zip(*columns, strict=True):
        found = max(found, abs(a - b))
        if mine != theirs:
            break
    return found


def command(run: Run, port: int, more: Sequence[str]) -> list[str]:
    """As a user would type it."""
    model = make_tiny(run.family, model_folder(), wide=True)
    where = ["--model-path", str(model), "--host", "127.0.0.1", "--port", str(port)]
    arena = ["--cachepawl-device-gb", ARENA[run.device]]
    entry = [sys.executable, "-m", "cachepawl.launch_server"]
    if run.device == "cpu":
        return [
            *entry, "--cachepawl-cpu", *where, *arena,
            *serve_args(run.family, PAGE, limits=LIMITS), *more,
        ]  # fmt: skip
    strategy = ["--mamba-radix-cache-strategy", "extra_buffer", "--mamba-backend", "triton"]
    return [
        *entry, *where, *arena, *more,
        *("--dtype", "float16", "--page-size", str(PAGE), "--attention-backend", run.backend),
        *(strategy if run.family not in WITHOUT_STATES else ()),
        *("--random-seed", "1234", "--mem-fraction-static", "0.3"),
        *("--cuda-graph-max-bs-decode", str(LIMITS.requests)),
        *("--decode-log-interval", str(LOG_EVERY)),
        *("--max-running-requests", str(LIMITS.requests)),
        *("--context-length", str(LIMITS.context), "--chunked-prefill-size", str(CHUNK)),
    ]  # fmt: skip


def environment(run: Run) -> dict[str, str]:
    if run.device == "cpu":
        return serve_env()
    return {"SGLANG_MAMBA_CONV_DTYPE": "float16", "HF_HUB_OFFLINE": "1"}


def crowd(client: Client) -> float:
    """Prompts that do not fit at once, twice; how far the second answers are from the first."""
    client.flush()
    jobs = [(tokens(50, 90) + tokens(60 + i, 40 + 31 * i), 12) for i in range(40)]
    first, second = (client.generate_at_once(jobs) for _ in range(2))
    stats = client.wait_idle()
    assert stats["evicted_states"] + stats["evicted_tokens"] > 0, "everything fitted"
    return max(distance(a, b) for a, b in zip(first, second, strict=True))


def graphs(log: str) -> str:
    """How many steps of decode ran in CUDA graphs; AssertionError if none did."""
    steps = DECODED.findall(log)
    assert CAPTURED in log, "no CUDA graphs were captured; see the server's log"
    assert "True" in steps, f"none of {len(steps)} logged steps of decode ran in a CUDA graph"
    return f"{steps.count('True')} of {len(steps)} logged steps of decode in CUDA graphs"


def hits(run: Run, folder: Path) -> str:
    """What was seen, as a line.  AssertionError where it is wrong."""
    with running(run, folder, CHECKED) as server:
        near = max(distance(*pair) for pair in converse(server.client, run.cell))
        close = crowd(server.client)
        pawl = server.client.pawl()
        in_graphs = "" if run.device == "cpu" else f"; {graphs(server.log)}"
    moved = pawl["movement"]
    assert pawl["device_reads"] == 0, f"{pawl['device_reads']} ids were read from the device"
    assert moved["fallbacks"] == 0, "a kernel did not start; see the server's log"
    assert run.device == "cpu" or moved["name"] == "triton", moved
    assert max(near, close) < CLOSE, f"log-probabilities are off by {near:.4f}, {close:.4f}"
    said = f"off by {near:.5f} warm, {close:.5f} in a crowd; moved by {moved['name']}"
    return said + in_graphs


def host(run: Run, folder: Path) -> str:
    """The crowd again with a host tier, from which the second answers have their prefixes."""
    with running(run, folder, [*CHECKED, *HOST]) as server:
        close = crowd(server.client)
        stats, pawl = server.client.wait_copied(), server.client.pawl()
    assert pawl["host"]["failure"] is None, pawl["host"]["failure"]
    assert stats["host_writes"] > 0 < stats["host_hit_tokens"], "nothing came from the host"
    assert stats["host_loads_failed"] == stats["host_writes_failed"] == 0
    assert close < CLOSE, f"with a host tier log-probabilities are off by {close:.4f}"
    return f"{close:.5f} with {stats['host_hit_tokens']} tokens from the host"


def control(run: Run, folder: Path) -> str:
    """How far answers are off when states are wrong: more than what counts as right."""
    with running(run, folder, [*CHECKED, *CORRUPT]) as server:
        prompt, longer = tokens(1, 200), tokens(1, 200) + tokens(2, 70)
        cold = server.client.cold(longer)
        server.client.generate(prompt)
        off = distance(cold, server.client.generate(longer))
    assert off > CLOSE, f"wrong states are off by {off:.4f} only: the comparison proves nothing"
    return f"wrong states are off by {off:.3f}"


CHECKS: dict[str, Callable[[Run, Path], str]] = {"hits": hits, "host": host, "control": control}


class Check(NamedTuple):
    """One server, started for one of `CHECKS`."""

    what: str
    run: Run

    def __str__(self) -> str:
        return f"{self.what} of {self.run}"


def checks(
    families: Sequence[str], backends: Sequence[str], device: str, *, everything: bool
) -> list[Check]:
    """Those that tell most come first."""
    if everything:
        runs = [Run(family, backend, device) for family in families for backend in backends]
    else:
        turns = enumerate(families)
        runs = [Run(family, backends[turn % len(backends)], device) for turn, family in turns]
    with_states = [run for run in runs if run.cell.has_states]
    return [
        *(Check("hits", run) for run in runs),
        *(Check("host", run) for run in (runs if everything else runs[:1])),
        *(Check("control", run) for run in with_states),
    ]


def running(
    run: Run, folder: Path, more: Sequence[str]
) -> contextlib.AbstractContextManager[Server]:
    port = free_port()
    return launched(command(run, port, more), port, folder / f"{port}.log", environment(run))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests/server/on_gpu.py", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="a trial without a GPU")
    parser.add_argument("--family", choices=WIDE_FAMILIES, help="one family; default: all")
    parser.add_argument("--backend", choices=BACKENDS, help="one attention backend")
    parser.add_argument("--all", action="store_true", help="every check with every backend")
    parser.add_argument("--budget-s", type=float, default=SECONDS, help="seconds for all of it")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    options = parser.parse_args(words)
    budget = Budget(options.budget_s)
    if not options.cpu and not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees none; nothing was served", file=sys.stderr)
        return 2
    # For the processes that a server spawns.
    os.environ["PYTHONPATH"] = os.pathsep.join([*PARTS, os.environ.get("PYTHONPATH", "")])
    # Who is told to end leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    backends = (options.backend,) if options.backend else BACKENDS
    planned = checks(
        [options.family] if options.family else WIDE_FAMILIES,
        ["torch_native"] if options.cpu else backends,
        "cpu" if options.cpu else "cuda",
        everything=options.all,
    )
    found = go_through(planned, _make, budget, options.json)
    return 1 if found["failed"] else 3 if found["not_checked"] else 0


def go_through(
    planned: Sequence[Check], make: Callable[[Check], str], budget: Budget, path: Path | None
) -> dict[str, Any]:
    """All checks in order; what was found is written after each."""
    found: dict[str, Any] = {"passed": {}, "failed": {}, "not_checked": list(map(str, planned))}
    for check in planned:
        name = str(check)
        if path is not None:
            write_json(path, found)
        try:
            with budget.bounded():
                found["passed"][name] = make(check)
                print(f"{name}: {found['passed'][name]}", flush=True)
        except OutOfTime:
            print(f"{name}: NOT CHECKED: out of time", file=sys.stderr, flush=True)
            continue
        except AssertionError as error:
            found["failed"][name] = str(error)
        except Exception:
            found["failed"][name] = traceback.format_exc()
        found["not_checked"].remove(name)
        if name in found["failed"]:
            print(f"{name}: FAILED: {found['failed'][name]}", file=sys.stderr, flush=True)
    if path is not None:
        write_json(path, found)
    return found


def _make(check: Check) -> str:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return CHECKS[check.what](check.run, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
