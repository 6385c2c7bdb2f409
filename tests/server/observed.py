"""One server that is listened to, drawn and recorded, for all tests that look on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cells import ARENA_GB, LIMITS, Cell
from harness import Server, running
from ports import free_port

CELL = Cell("nemotron_h", 16)
WATCH = Path(__file__).parent / "watch"
KEY = "only-for-the-operator"
"""The admin key, which maps and flushes ask for."""
SALT = "pepper"
"""Of the recording's hashes."""


@dataclass(frozen=True)
class Observed:
    """A server that publishes KV events, serves maps and records itself."""

    server: Server
    events: int
    """Port of its KV events."""
    trace: Path
    collector: Path
    """Where every process writes what its garbage collector is told (`watch/sitecustomize.py`)."""


@contextmanager
def observing(folder: Path) -> Iterator[Observed]:
    """The server, its invariants checked at every step, in an arena that a dozen requests fill."""
    events, trace = free_port(), folder / "trace.zst"
    config = {"publisher": "zmq", "endpoint": f"tcp://*:{events}", "topic": "kv-events"}
    more = [
        *("--cachepawl-device-gb", ARENA_GB, "--cachepawl-check-level", "2"),
        *("--cachepawl-policy", "lru"),  # what is asked for again has been evicted
        *("--kv-events-config", json.dumps(config)),
        *("--cachepawl-map", "--admin-api-key", KEY),
        *("--cachepawl-trace", str(trace)),
        *("--cachepawl-trace-salt", SALT, "--cachepawl-trace-mb", "0.004"),
    ]
    collector = folder / "collector"
    collector.mkdir()
    path = os.pathsep.join([str(WATCH), os.environ.get("PYTHONPATH", "")])
    env = {"CACHEPAWL_COLLECTOR": str(collector), "PYTHONPATH": path}
    with running(CELL.family, CELL.page, folder, limits=LIMITS, more=more, env=env) as live:
        live.client.key = KEY
        yield Observed(live, events, trace, collector)
