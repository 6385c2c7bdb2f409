"""What is played: traces, models, budgets.  Another one is another line here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.ways import grid_of
from cachepawl.offline.traces import TraceRequest, open_trace
from cachepawl.specs import ModelSpec
from cachepawl.specs.presets import preset
from cachepawl.types import TOKEN_BYTES

CONTEXT = 262_144
"""Tokens of the longest request, prompt and answer: what these models are served with.  Longer
ones are left out for everybody, as any server refuses them."""
PAGE = 16
CHUNK = 8192
GIB = 1 << 30
Half = Literal["all", "tuning", "held-out"]


class TraceFile(NamedTuple):
    """A trace and the GiB on which it is interesting for a model of 24 KiB a token."""

    path: str
    """Below the folder of traces."""
    device_gb: tuple[float, ...]


class Model(NamedTuple):
    """A preset, and the share of a trace's budgets that it gets: models differ in size."""

    preset: str
    share: float


TRACES = {
    "conversation": TraceFile("mooncake/conversation_trace.jsonl.gz", (20, 40, 80, 160, 320)),
    "synthetic": TraceFile("mooncake/synthetic_trace.jsonl.gz", (10, 20, 40, 80, 160)),
    "claude-code": TraceFile("claude-code/conversations.jsonl.gz", (10, 20, 40, 80, 160)),
}
MODELS = {
    "qwen3-next": Model("Qwen/Qwen3-Next-80B-A3B-Instruct", 1.0),
    "qwen3.5-9b": Model("Qwen/Qwen3.5-9B", 1.0),
    "nemotron-3-nano": Model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 0.5),
}
HOST_TIMES = (0.0, 4.0)
"""Host tiers, as multiples of the device's bytes."""


@lru_cache
def spec_of(model: str) -> ModelSpec:
    """The model of a geometry's name."""
    return preset(MODELS[model].preset).spec()


def find_traces() -> Path | None:
    """The folder `shared/traces` above this one, as the tests look for it."""
    here = Path(__file__).resolve().parents
    return next((p / "shared/traces" for p in here if (p / "shared/traces").is_dir()), None)


class Requests(NamedTuple):
    """A trace, or a part of it, as a recipe that travels to other processes."""

    path: Path
    half: Half = "all"
    limit: int | None = None

    @property
    def block_tokens(self) -> int:
        """Tokens that the trace knows as one."""
        return open_trace(self.path).block_tokens

    def play(self) -> Iterator[TraceRequest]:
        """The requests by time, from the start at each call.  InputError for a bad trace."""
        trace = open_trace(self.path)
        block = trace.block_tokens
        wanted = (
            request
            for request in trace.requests()
            if len(request.key.tokens) // TOKEN_BYTES + request.output <= CONTEXT
            and self.half in ("all", half_of(request, block))
        )
        return islice(wanted, self.limit)


def conversation_of(request: TraceRequest, block_tokens: int) -> int:
    """A number of 32 bits that all requests of a conversation share.

    By a hash of the conversation's id; without ids, of the prompt's first two blocks: in
    Mooncake's conversation trace the first block is the same everywhere.
    """
    tokens, size = request.key.tokens, block_tokens * TOKEN_BYTES
    first_two = tokens[:TOKEN_BYTES] + tokens[size : size + TOKEN_BYTES]
    name = request.conversation.encode() or first_two
    return int.from_bytes(hashlib.sha256(name).digest()[:4], "little")


def half_of(request: TraceRequest, block_tokens: int) -> Half:
    """The half that a request's whole conversation is in, whatever else is in the trace."""
    return "held-out" if conversation_of(request, block_tokens) & 1 else "tuning"


class Cell(NamedTuple):
    """One figure of the table."""

    trace: str
    model: str
    device_gb: float
    host_gb: float
    contender: str


class Task(NamedTuple):
    """A cell and its requests."""

    cell: Cell
    requests: Requests

    @property
    def budget(self) -> int:
        """Bytes on the device."""
        return int(self.cell.device_gb * GIB)

    @property
    def host(self) -> int:
        """Bytes on the host."""
        return int(self.cell.host_gb * GIB)

    def scenario(self, policy: str = "lru") -> Scenario:
        """Our server on these bytes."""
        spec = spec_of(self.cell.model)
        grid = grid_of(spec, PAGE, self.requests.block_tokens)
        return Scenario(
            spec, self.budget, policy, page=PAGE, chunk=CHUNK, grid=grid, host=self.host
        )
