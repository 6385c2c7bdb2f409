"""What replays say that a served load hits: the same prompts and bytes, one cache, no server."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.served.load import BLOCK, Job
from benchmarks.served.slices import CHUNK, CONTEXT, PAGE, RUNNING, Slice
from cachepawl.errors import InvariantError
from cachepawl.offline.models import load_model
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.traces import TraceRequest
from cachepawl.types import Key


def ours(size: Slice, model: Path, policy: str, jobs: Sequence[Job]) -> int:
    """Tokens that cachepawl hits under a policy."""
    spec = load_model(str(model)).spec
    if (spec.kv_bytes_per_token(), spec.state_bytes()) != (size.entry, size.state):
        raise InvariantError(f"{size}: {model} has other bytes")
    scenario = Scenario(
        spec,
        size.memory_bytes,
        policy,
        page=PAGE,
        chunk=CHUNK,
        grid=BLOCK,
        running=RUNNING,
        answers="publish",
    )
    scenario.check()
    measures = Measures(spec, size.memory_bytes)
    Engine(scenario, measures).play(_requests(jobs))
    return measures.total().hit


def stock(size: Slice, jobs: Sequence[Job]) -> int:
    """Tokens that SGLang's own cache hits, driven as its scheduler does, request by request."""
    # Only here: it brings torch and SGLang.
    from benchmarks.policy.pools import Split
    from benchmarks.policy.sglang_server import SglangServer, context

    memory = Split(size.entry * PAGE, size.state, size.tokens // PAGE, size.states)
    with context(PAGE, BLOCK):
        server = SglangServer(memory, PAGE, BLOCK, chunk=CHUNK, longest=CONTEXT)
        done = [server.serve(array("q", j.ids), len(j.ids), j.answer - 1) for j in jobs]
    return sum(one.usable for one in done)


def _requests(jobs: Sequence[Job]) -> Iterator[TraceRequest]:
    for job in jobs:
        yield TraceRequest(job.at, Key(array("q", job.ids).tobytes()), job.answer, "")
