"""Real servers on the CPU, as a user starts them: their start, one request, and what they took."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import requests

from cachepawl_launch.cpu.flags import serve_env
from cachepawl_launch.demo.server import Server, running

ONE_ATTENTION_LAYER: dict[str, Any] = {
    "num_key_value_heads": 1,
    "hybrid_override_pattern": "M-*-M-",
    "num_hidden_layers": 6,
    "n_groups": 1,
    "mamba_n_groups": 1,
}
"""Changes to the tiny NemotronH: little KV, and two Mamba-2 layers whose heads and state size then
say how many tokens of it a state weighs."""


@contextmanager
def spawned(words: list[str], port: int, log: Path) -> Iterator[Server]:
    """A ready server as a child of this process, whose environment is put back at its end."""
    with patch.dict(os.environ, serve_env()), running(words, port, log.resolve()) as server:
        server.wait_ready(lambda _: None)
        yield server


def ask(url: str, ids: list[int], answer: int) -> dict[str, Any]:
    """The reply to a prompt, with an answer of just so many tokens."""
    sampling = {"temperature": 0, "max_new_tokens": answer, "ignore_eos": True}
    body = {"input_ids": ids, "sampling_params": sampling}
    reply = requests.post(f"{url}/generate", json=body, timeout=600)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a server's processes so far; `pid` is its first one's."""
    first = psutil.Process(pid)
    times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
    return sum(t.user + t.system for t in times)
