"""Host tiers that hold everything ever published: what that takes, and budgets for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.policy.contenders import Played
from benchmarks.policy.inputs import CHUNK, GIB, PAGE, Task
from benchmarks.policy.store import key_of
from cachepawl.errors import InvariantError
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.types import TOKEN_BYTES

TIMES = 4.0
"""Bytes of such a host, as a multiple of the device's."""
AMPLE_GB = {"conversation": 840.0, "synthetic": 190.0, "claude-code": 160.0}
"""GiB on the device of which the host's share holds everything that the whole trace publishes
with Qwen3-Next: 3289, 741 and 585 GiB.  Other models get their share of it, as of other budgets,
and `targets` looks at what they take."""
EVERYTHING = "everything"
"""The name of the cell that says how much is published."""
STATES_BESIDE_CHUNKS = 4
"""Most states of a request but those at its chunks' ends."""


def everything(task: Task) -> Played:
    """The task's requests in memory that nothing has to leave, whatever the cell's budgets.

    The note `published_bytes` is what is cached in the end, in whole frames.
    """
    cell = task.cell._replace(device_gb=_plenty(task) / GIB, host_gb=0.0)
    scenario = task._replace(cell=cell).scenario()
    measures = Measures(scenario.spec, scenario.budget)
    engine = Engine(scenario, measures)
    engine.play(task.requests.play())
    total, frames = measures.total(), engine.cache.frames
    if total.refused or total.evicted_tokens or total.evicted_states:
        raise InvariantError(f"{cell}: {total} in memory that was to be enough for everything")
    used = frames.num_frames - 1 - frames.free_frames
    notes = {"published_bytes": used * scenario.geometry.frame_bytes}
    return Played(total.hit, total.prompt, total.requests, 0, None, None, notes)


def key_of_everything(task: Task) -> str:
    """What it depends on: our cache, and this file."""
    mine = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return f"{key_of(task, 'ours')}-{mine[:8]}"


def _plenty(task: Task) -> int:
    """Bytes that all requests take if none shares anything with another."""
    geometry = task._replace(cell=task.cell._replace(device_gb=1.0)).scenario().geometry
    nbytes = geometry.frame_bytes
    for request in task.requests.play():
        tokens = len(request.key.tokens) // TOKEN_BYTES + request.output + PAGE
        states = tokens // CHUNK + STATES_BESIDE_CHUNKS
        nbytes += tokens * geometry.entry_bytes + states * geometry.frame_bytes
    return nbytes
