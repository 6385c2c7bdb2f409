"""Stock SGLang with its host cache, and cachepawl with its host tier, in the same bytes.

SGLang's pools are sized first, the device's as its default ratio splits them and the host's at
`HOST_TIMES` as many; ours get the bytes of both together, on either side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import requests

from benchmarks.servers import ONE_ATTENTION_LAYER, spawned
from cachepawl_launch.cpu.flags import Limits, serve_args
from cachepawl_launch.cpu.hicache_server import counted
from cachepawl_launch.cpu.tiny import make_tiny
from cachepawl_launch.demo.server import choose_port

HOST_TIMES = 4
RATIO = 0.9
"""`--mamba-full-memory-ratio`: bytes of states for one of KV."""
PAGE, CHUNK, RUNNING = 16, 512, 2
STOCK = "sglang"


@dataclass(frozen=True)
class Model:
    """A tiny checkpoint, and what its server may hold."""

    name: str
    family: str
    entry: int
    """Bytes of a token's KV."""
    state: int
    """Bytes of a state; 0 for a model without."""
    device: int
    """Bytes for both."""
    context: int = 8192
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Of SGLang's device pool."""
        share = self.device / (1 + RATIO) if self.state else self.device
        return int(share / self.entry) // PAGE * PAGE

    @property
    def states(self) -> int:
        return int(self.device * RATIO / (1 + RATIO) / self.state) if self.state else 0

    @property
    def device_bytes(self) -> int:
        """What SGLang reserves: KV with its padding page, states with their padding slot."""
        return (self.tokens + PAGE) * self.entry + (self.states + 1) * self.state

    @property
    def host_bytes(self) -> int:
        """The same of its host pools."""
        kv = (HOST_TIMES * self.tokens + PAGE) * self.entry
        return kv + (HOST_TIMES * self.states + 1) * self.state


PROPORTIONS = ONE_ATTENTION_LAYER | {"mamba_num_heads": 8, "ssm_state_size": 372}
"""States of 8 x 16 x 372 weigh 3140 tokens of KV, as in Qwen3-Next."""
MODELS = (
    Model("nemotron_h-heavy", "nemotron_h", 128, 401_856, 12 << 20, changes=PROPORTIONS),
    Model("qwen3", "qwen3", 768, 0, 16 << 20),
)


Start = Callable[[list[str], int, Path], AbstractContextManager[Any]]
"""Runs a command line that will listen on a port and write a log; gives what has a `process`."""
Copied = Callable[[], dict[str, int]]
"""Bytes so far, to the device (`load`) and to the host (`write`)."""


class Contestant(NamedTuple):
    """A ready server."""

    url: str
    pid: int
    copied: Copied


@contextmanager
def contestant(
    who: str, model: Model, folder: Path, *, writing: str, start: Start = spawned
) -> Iterator[Contestant]:
    """`STOCK`, or cachepawl under the policy of that name; `writing`: when the host gets a copy."""
    port, log = choose_port(None), folder / f"{model.name}-{who}.log"
    path = make_tiny(model.family, folder / "models", name=model.name, changes=model.changes)
    url = f"http://127.0.0.1:{port}"
    entry, limits, more = (_stock if who == STOCK else _ours)(who, model, writing)
    words = [sys.executable, "-m", *entry, "--model-path", str(path.resolve()),
             "--host", "127.0.0.1", "--port", str(port),
             *serve_args(model.family, PAGE, limits=limits), *more]  # fmt: skip
    counts = (folder / f"{log.stem}.copied").resolve()
    with counted(counts) as stand_ins, start(words, port, log) as server:
        told = (lambda: stand_ins.bytes) if who == STOCK else (lambda: _stats_of(url))
        yield Contestant(url, server.process.pid, told)


Words = tuple[list[str], Limits, list[str]]
"""Entry module, limits, further flags."""


def _stock(_: str, model: Model, writing: str) -> Words:
    limits = Limits(model.tokens, model.states, RUNNING, model.context, CHUNK)
    host = ["--enable-hierarchical-cache", "--hicache-ratio", str(HOST_TIMES),
            "--hicache-io-backend", "direct", "--hicache-mem-layout", "page_first_direct",
            "--hicache-write-policy", writing]  # fmt: skip
    return ["cachepawl_launch.cpu.hicache_server"], limits, host


def _ours(policy: str, model: Model, writing: str) -> Words:
    limits = Limits(None, None, RUNNING, model.context, CHUNK)
    sizes = ["--cachepawl-device-gb", f"{model.device_bytes / 2**30:.9f}",
             "--cachepawl-host-gb", f"{model.host_bytes / 2**30:.9f}"]  # fmt: skip
    more = [*sizes, "--cachepawl-policy", policy, "--cachepawl-write-policy", writing]
    return ["cachepawl.launch_server", "--cachepawl-cpu"], limits, more


def _stats_of(url: str) -> dict[str, int]:
    reply = requests.get(f"{url}/server_info", timeout=60)
    reply.raise_for_status()
    stats = reply.json()["internal_states"][0]["cachepawl"]["stats"]
    return {"load": stats["host_load_bytes"], "write": stats["host_write_bytes"]}
