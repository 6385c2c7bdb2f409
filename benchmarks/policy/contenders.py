"""Who is compared: each plays a task and says what it hit.

A new policy is there as soon as it is in `cachepawl.policy.POLICIES`; anything else is another
entry of `contenders()`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from benchmarks.policy.inputs import CHUNK, CONTEXT, PAGE, Task
from cachepawl.errors import ArgumentError, InputError
from cachepawl.offline.bounds import Bytes, Clairvoyant, Runs, runs_of, upper_bound
from cachepawl.offline.replay import lines
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.ways import Tracked, Way
from cachepawl.offline.traces import TraceRequest
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.snapshots import SnapshotPlan
from cachepawl.types import TOKEN_BYTES

DEFAULT_RATIO = 0.9
"""SGLang's --mamba-full-memory-ratio, bytes of states to bytes of KV."""
RATIOS = (0.1, 0.25, 0.5, DEFAULT_RATIO, 1.8, 4.0)
"""Tried for `sglang-best-static`."""


class Played(NamedTuple):
    """What one contender did on one task."""

    hit: int
    """Tokens."""
    prompt: int
    """Tokens of all requests, refused ones included."""
    requests: int
    refused: int
    """Requests that the empty memory cannot hold; they hit nothing."""
    flops_saved: float | None
    """Share of prefilling every prompt whole; None for what is no cache."""
    seconds: float | None
    """CPU time of everything that the cache did, reading the trace left out."""
    notes: dict[str, Any]


Family = Literal["sglang", "ours", "bound"]
Contender = Callable[[Task], Played]


class Entry(NamedTuple):
    """A contender; `family` says which code its figures depend on."""

    family: Family
    play: Contender
    tiers: bool = False
    """Whether it can have a host tier.  SGLang's is driven in `benchmarks/host`."""


def static_name(ratio: float) -> str:
    """A split's name among the contenders."""
    return "sglang-default" if ratio == DEFAULT_RATIO else f"sglang-static-{ratio:g}"


def contenders(ratios: Iterable[float] = RATIOS) -> dict[str, Entry]:
    """All that are played, by name."""
    found = {static_name(DEFAULT_RATIO): Entry("sglang", partial(sglang, ratio=DEFAULT_RATIO))}
    found |= {static_name(r): Entry("sglang", partial(sglang, ratio=r)) for r in ratios}
    found["sglang-unified"] = Entry("sglang", sglang)
    found["sglang-unified+our-snapshots"] = Entry("sglang", partial(sglang, snapshots="ours"))
    found["lru+sglang-snapshots"] = Entry("ours", partial(ours, rules=SglangRules))
    found |= {name: Entry("ours", partial(ours, policy=name), tiers=True) for name in POLICIES}
    found["clairvoyant"] = Entry("ours", clairvoyant)
    found["bound"] = Entry("bound", bound, tiers=True)
    found["ceiling"] = Entry("bound", ceiling, tiers=True)
    return found


def play(task: Task, ratios: Iterable[float] = RATIOS) -> Played:
    """Play a cell.  InputError for what cannot be played."""
    entry = contenders(ratios)[task.cell.contender]
    if task.cell.host_gb and not entry.tiers:
        raise InputError(f"{task.cell}: {task.cell.contender} has no host tier here")
    return entry.play(task)


# -- SGLang ------------------------------------------------------------------------------


def sglang(
    task: Task, ratio: float | None = None, snapshots: Literal["sglang", "ours"] = "sglang"
) -> Played:
    """SGLang's own cache: split at a ratio, or without one, its unified memory's model."""
    # Only here: it brings torch and SGLang, which other contenders do without.
    from benchmarks.policy.pools import Shared, split_at
    from benchmarks.policy.sglang_server import SglangServer, context, ids_of

    scenario = task.scenario()
    spec, grid = scenario.spec, scenario.grid
    page, state = PAGE * spec.kv_bytes_per_token(), spec.state_bytes()
    whole = _Whole(task)
    try:
        memory = (
            Shared(page, state, task.budget)
            if ratio is None
            else split_at(ratio, page, state, task.budget)
        )
    except ArgumentError:  # such a server does not start
        count = sum(1 for _ in whole.play())
        return whole.played(0, count, 0, 0.0, {"starts": False})
    refused = hit = saved = 0
    seconds = 0.0
    # All tokens of a page are alike, so one id stands for them.
    per_id = PAGE if task.requests.block_tokens % PAGE == 0 else 1
    sizes = {"chunk": CHUNK, "longest": CONTEXT, "per_id": per_id}
    with context(PAGE, grid, per_id):
        server = SglangServer(memory, PAGE, grid, snapshots=snapshots, **sizes)
        for request in whole.play():
            tokens = len(request.key.tokens) // TOKEN_BYTES
            prompt = ids_of(request.key.tokens, per_id)
            started = time.thread_time()
            done = server.serve(prompt, tokens, max(request.output - 1, 0))
            seconds += time.thread_time() - started
            refused += not done.fits
            hit += done.usable
            saved += spec.prefill_flops(done.usable)
    notes = {"rescues": server.rescues, "cached_states": server.sizes()[1]}
    return whole.played(hit, refused, saved, seconds, notes)


class _Whole:
    """The task's requests, and what serving them without a cache would take."""

    def __init__(self, task: Task) -> None:
        self.requests = task.requests
        self.spec = task.scenario().spec
        self.tokens = self.count = self.flops = 0

    def play(self) -> Iterator[TraceRequest]:
        for request in self.requests.play():
            tokens = len(request.key.tokens) // TOKEN_BYTES
            self.tokens += tokens
            self.count += 1
            self.flops += self.spec.prefill_flops(tokens)
            yield request

    def played(
        self, hit: int, refused: int, saved: int, seconds: float, notes: dict[str, Any]
    ) -> Played:
        """`saved`: FLOPs of the prefixes that were not computed."""
        share = saved / max(self.flops, 1)
        return Played(hit, self.tokens, self.count, refused, share, seconds, notes)


# -- ours --------------------------------------------------------------------------------


class SglangRules(Scenario):
    """Our server with SGLang's chunks: none ends early for a second snapshot."""

    @property
    def way(self) -> Way:  # type: ignore[override]
        """As SGLang keeps states."""
        made = Tracked(self.grid, self.page)
        made.plan = SnapshotPlan(self.grid, enabled=False)
        return made


class _Timed(Engine):
    """Knows how long it took."""

    seconds = 0.0

    def admit(self, request: TraceRequest) -> None:
        started = time.thread_time()
        super().admit(request)
        self.seconds += time.thread_time() - started


def ours(task: Task, policy: str = "lru", rules: type[Scenario] = Scenario) -> Played:
    """The cache that serves, under one of its policies."""
    made = task.scenario(policy)
    return _replayed(rules(**{f: getattr(made, f) for f in made.__dataclass_fields__}), task)


def clairvoyant(task: Task) -> Played:
    """The same cache under a policy that knows the trace: what can be had."""
    policy = Clairvoyant(_runs(task), _cost(task))
    return _replayed(task.scenario(), task, policy)


def _replayed(scenario: Scenario, task: Task, known: Clairvoyant | None = None) -> Played:
    scenario.check()
    measures = Measures(scenario.spec, scenario.budget)
    policy: EvictionPolicy | None = known
    engine = _Timed(scenario, measures, policy)
    whole = _Whole(task)
    requests = whole.play()
    engine.play(known.watch(requests, engine.cache.tree) if known else requests)
    total, counters = measures.total(), engine.cache.counters
    notes = {
        "evicted_tokens": total.evicted_tokens,
        "evicted_states": total.evicted_states,
        "checkpoints_skipped": counters.checkpoints_skipped,
        "prefixes_dropped": counters.prefixes_dropped,
    }
    return whole.played(total.hit, total.refused, total.flops_saved, engine.seconds, notes)


# -- bounds ------------------------------------------------------------------------------


def bound(task: Task) -> Played:
    """What no cache of these bytes passes, wherever they are."""
    runs = _runs(task)
    return _line(task, upper_bound(runs, _cost(task), task.budget + task.host))


def ceiling(task: Task) -> Played:
    """What endless memory hits with these pages and this grid; the same for all budgets."""
    return _line(task, lines.prefixes_known(task.requests.play(), task.scenario()))


def _line(task: Task, hit: int) -> Played:
    lengths = [len(r.key.tokens) // TOKEN_BYTES for r in task.requests.play()]
    return Played(hit, sum(lengths), len(lengths), 0, None, None, {})


def _runs(task: Task) -> Runs:
    return runs_of(task.requests.play(), task.requests.block_tokens, PAGE)


def _cost(task: Task) -> Bytes:
    geometry = task.scenario().geometry
    return Bytes(geometry.entry_bytes, geometry.state_bytes)
