"""SGLang's loop over the queue, as far as it matters for stops and waits; real budget and stops.

The tree is what was computed and the states that were left, searched without any cleverness.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cachepawl.observe.counters import CacheCounters
from cachepawl.snapshots import SnapshotPlan
from cachepawl.types import Key
from cachepawl_launch.marks import PARAMETER, Marks
from cachepawl_launch.prefill_budget import ArenaPrefillBudget
from cachepawl_launch.stops import Candidate, Stops

GRID = 64


def key(ids: list[int], namespace: bytes = b"") -> Key:
    return Key(array("q", ids).tobytes(), namespace)


def request(rid: str, named: Any = None) -> Any:
    """As much of SGLang's request as is looked at."""
    custom = None if named is None else {PARAMETER: named}
    return SimpleNamespace(
        rid=rid,
        sampling_params=SimpleNamespace(custom_params=custom),
        skip_radix_cache_insert=False,
        mamba_branching_seqlen=None,
    )


def make_stops(grid: int = GRID, *, enabled: bool = True, page: int = 1) -> Stops:
    """Without a template: marks are what requests name."""
    return Stops(SnapshotPlan(grid, enabled), Marks(()), CacheCounters(), page)


def make_budget(stops: Stops, page: int = 1) -> ArenaPrefillBudget:
    """Of one pass over an arena where everything fits."""
    cache = SimpleNamespace(
        geometry=SimpleNamespace(tokens_per_frame=22),
        states_per_request=3,
        fits=lambda tokens, states: True,
        obtainable_tokens=lambda: 10**9,
        counters=CacheCounters(),
    )
    tree = SimpleNamespace(stops=stops, plan=stops.plan, refused=lambda **_: None)
    allocator = SimpleNamespace(page_size=page, cache=cache)
    return ArenaPrefillBudget(allocator, tree, num_mixed_decode_tokens=0)


def ask(b: ArenaPrefillBudget, extend: int, room: int | None) -> tuple[bool, int | None]:
    return b.check_prefill(
        extend_input_len=extend,
        total_tokens=extend,
        max_new_tokens=8,
        input_tokens=extend,
        swa_host_hit_length=0,
        chunk_limit=room,
    )


@dataclass
class Job:
    """A prompt, and what became of it."""

    rid: str
    ids: list[int]
    named: list[int] | None = None
    cached: int | None = None
    computed: int = 0
    """Tokens in all chunks."""
    req: Any = None

    def __post_init__(self) -> None:
        self.req = request(self.rid, self.named)

    @property
    def done(self) -> bool:
        return (self.cached or 0) + self.computed == len(self.ids)


def common(a: list[int], b: list[int]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


@dataclass
class Passes:
    """A scheduler without decodes; `late` passes lie between a whole prompt and its result."""

    stops: Stops
    chunk: int = 8192
    late: int = 1
    skipped: Callable[[], bool] = lambda: False
    """Whether the next snapshot finds no room."""
    queue: list[Job] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Tokens of each pass."""
    waited: dict[str, int] = field(default_factory=dict)
    """How often each request was passed over."""
    _unfinished: Job | None = None
    _known: list[list[int]] = field(default_factory=list)
    _states: list[list[int]] = field(default_factory=list)
    _results: list[tuple[int, Job, int | None]] = field(default_factory=list)
    """Pass, request and depth of its state."""

    def run(self, at_most: int = 100) -> None:
        """Until everything is computed and published, which takes `at_most` passes more."""
        last = len(self.sizes) + at_most
        while self.queue or self._unfinished or self._results:
            assert len(self.sizes) < last, "they wait for ever"
            self.step()

    def step(self) -> None:
        self._publish()
        budget, room = make_budget(self.stops), self.chunk
        if (job := self._unfinished) is not None:
            room -= self._go_on(budget, job, room)
        for job in list(self.queue):
            if room <= 0:
                break
            took = self._admit(budget, job, room)
            if took is None:
                break
            room -= took
        self.sizes.append(self.chunk - room)

    def abort(self, job: Job) -> None:
        """Before its prompt is computed."""
        self.stops.ended(job.rid)
        if job in self.queue:
            self.queue.remove(job)
        if self._unfinished is job:
            self._unfinished = None
        self._results = [entry for entry in self._results if entry[1] is not job]

    def _publish(self) -> None:
        now = len(self.sizes)
        due = [entry for entry in self._results if entry[0] <= now]
        self._results = [entry for entry in self._results if entry[0] > now]
        for _, job, depth in due:
            if depth and not self.skipped():
                self._states.append(job.ids[:depth])
            self._known.append(job.ids[: (job.cached or 0) + job.computed])
            self.stops.left(job.rid)

    def _go_on(self, budget: ArenaPrefillBudget, job: Job, room: int) -> int:
        left = len(job.ids) - (job.cached or 0) - job.computed
        available = budget.available_chunk_tokens(room)
        assert available is not None
        limit = budget.fit_chunk(extend_input_len=left, max_new_tokens=8, chunk_limit=available)
        assert limit
        self._unfinished = None
        self._compute(budget, job, min(left, limit), goes_on=True)
        return min(left, limit)

    def _admit(self, budget: ArenaPrefillBudget, job: Job, room: int) -> int | None:
        """Tokens that it takes; None where SGLang leaves the queue."""
        limit = len(job.ids) - 1
        matching = [s for s in self._states if len(s) <= limit and job.ids[: len(s)] == s]
        usable = max(map(len, matching), default=0)
        known = max((min(common(job.ids, k), limit) for k in self._known), default=0)
        branch = self.stops.plan.branch_point(max(known, usable), usable)
        job.req.mamba_branching_seqlen = branch
        self.stops.matched(Candidate(job.req, key(job.ids), len(job.ids), usable, branch, limit))
        extend = len(job.ids) - usable
        admitted, limit_now = ask(budget, extend, room)
        assert admitted
        if limit_now == 0:
            self.waited[job.rid] = self.stops.coming.waits(job.rid)
            return 0 if budget.next_may_come() else None
        took = extend if limit_now is None else min(extend, limit_now)
        job.cached = usable
        self.queue.remove(job)
        self._compute(budget, job, took, goes_on=False)
        return took

    def _compute(self, budget: ArenaPrefillBudget, job: Job, took: int, *, goes_on: bool) -> None:
        budget.reserve(took, 8, is_chunked_continuation=goes_on)
        start = (job.cached or 0) + job.computed
        job.computed += took
        stop = start + took
        depth = self.stops.plan.snapshot(start, stop, job.req.mamba_branching_seqlen)
        now = len(self.sizes)
        if stop < len(job.ids):
            assert self._unfinished is None, "SGLang tracks one unfinished prompt"
            self._unfinished = job
            self._results.append((now + 1, job, depth))
        else:
            self._results.append((now + 1 + self.late, job, depth))
