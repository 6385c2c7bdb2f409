"""What is played: of each trace some conversations, and everything so many times smaller.

`scale` tokens of the trace become one token, one conversation in `one_in` is played, and the
memory has so many times less room.  A state weighs as many times less in tokens, by the tiny
model's own shape: so it competes with KV as Qwen3-Next's does on the whole trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.policy.contenders import DEFAULT_RATIO
from benchmarks.policy.inputs import GIB, TRACES, Requests, conversation_of, spec_of
from benchmarks.served.load import Job, scaled
from benchmarks.servers import ONE_ATTENTION_LAYER
from cachepawl.errors import CachepawlError
from cachepawl_launch.cpu.tiny import make_tiny

FAMILY, MODEL = "nemotron_h", "qwen3-next"
PAGE, CHUNK, RUNNING, CONTEXT = 1, 512, 2, 4096
"""At page 1 the tiny model's states fill their frames, as real models' nearly do at page 16."""
SLACK = 64
"""Tokens that a prompt stays below the context length."""


class Slice(NamedTuple):
    """A trace in miniature."""

    trace: str
    one_in: int
    """One conversation in so many is played, whole: turns follow while others come between."""
    scale: int
    """Tokens of the trace for one of the tiny model's: prompts become some hundred."""
    device_gb: float
    """Of the whole trace at full size, one of the budgets of `benchmarks.policy`."""
    speed: float
    """Seconds of the trace in one; 1 where the first requests take minutes, not hours."""
    changes: Mapping[str, Any]
    """To the tiny model's configuration: what makes its states as heavy as they should be."""
    entry: int
    """Bytes of a token's KV."""
    state: int
    """Bytes of a state."""

    @property
    def room(self) -> int:
        """Tokens of KV that the bytes would hold without a state."""
        full = self.device_gb * GIB / spec_of(MODEL).kv_bytes_per_token()
        return int(full / self.one_in / self.scale)

    @property
    def tokens(self) -> int:
        """Of stock's KV pool."""
        return int(self.room / (1 + DEFAULT_RATIO))

    @property
    def states(self) -> int:
        """Of stock's pool of states."""
        return int(self.room * DEFAULT_RATIO / (1 + DEFAULT_RATIO) * self.entry / self.state)

    @property
    def memory_bytes(self) -> int:
        """What stock reserves: KV with its padding page, states with their padding slot."""
        return (self.tokens + PAGE) * self.entry + (self.states + 1) * self.state

    @property
    def full_state(self) -> float:
        """Tokens of the trace that a state weighs."""
        return self.state / self.entry * self.scale

    def model(self, folder: Path) -> Path:
        """The tiny model, made below a folder unless it is there."""
        return make_tiny(
            FAMILY,
            folder / "models",
            name=self.trace,
            changes=ONE_ATTENTION_LAYER | dict(self.changes),
        )

    def jobs(self, traces: Path, count: int) -> list[Job]:
        """The first `count` requests.  CachepawlError if the trace is not there, or has none."""
        path = traces / TRACES[self.trace].path
        if not path.is_file():
            raise CachepawlError(f"no such trace: {path}; give --traces DIR")
        trace = Requests(path)
        block = trace.block_tokens
        some = (r for r in trace.play() if conversation_of(r, block) % self.one_in == 0)
        jobs = scaled(some, self.scale, CONTEXT - SLACK, count)
        if not jobs:
            longest = (CONTEXT - SLACK) * self.scale
            raise CachepawlError(f"{path}: none of its requests is in the slice: one conversation "
                                 f"in {self.one_in}, prompts up to {longest} tokens")  # fmt: skip
        return [job._replace(at=job.at / self.speed) for job in jobs]


SLICES = {
    made.trace: made
    for made in (
        Slice(
            "conversation", 8, 16, 80, 1, {"mamba_num_heads": 8, "ssm_state_size": 21}, 128, 25_584
        ),
        Slice("synthetic", 8, 32, 80, 1, {"mamba_num_heads": 8, "ssm_state_size": 9}, 128, 12_720),
        Slice(
            "claude-code", 2, 128, 40, 4, {"mamba_num_heads": 4, "ssm_state_size": 3}, 128, 3_216
        ),
    )
}
