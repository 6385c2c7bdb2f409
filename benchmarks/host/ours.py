"""Our server's cache and host tier, by the replay's rules, with bytes that are really copied."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from benchmarks.host import model
from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures, Seen
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.tiers import Link, Tiers, WithHost
from cachepawl.offline.replay.ways import Tracked, Way
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.offload.arena_transfers import ArenaTransfers, Side
from cachepawl.offload.copiers import copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.layers import WHOLE_PAGES
from cachepawl.offload.transfers import Order, Outcome
from cachepawl.pool.geometry import Geometry
from cachepawl.snapshots import SnapshotPlan
from cachepawl.types import TOKEN_BYTES

Snapshots = Literal["ours", "sglang"]


class CopyingLink(Link):
    """A link that is done at once, and copies."""

    def __init__(self, device: Geometry, host: Geometry) -> None:
        super().__init__(device, float("inf"))
        cpu = torch.device("cpu")
        sides = [Side(torch.zeros(g.total_bytes, dtype=torch.uint8), g) for g in (device, host)]
        self._copies = ArenaTransfers(
            *sides, copiers_for(cpu), lanes_for(cpu), group_bytes=WHOLE_PAGES
        )
        self.seconds = 0.0
        """Spent in copies."""

    def start(self, order: Order) -> None:
        super().start(order)
        started = time.thread_time()
        self._copies.start(order)
        self._copies.begin_loads()
        self.seconds += time.thread_time() - started

    def finished(self) -> list[Outcome]:
        ended = super().finished()
        assert all(outcome.error is None for outcome in self._copies.finished())
        return ended


@dataclass(frozen=True)
class HostScenario(Scenario):
    """A replay of the scaled model; `host` bytes of it are really there."""

    snapshots: Snapshots = "ours"

    @cached_property
    def geometry(self) -> Geometry:
        return model.shapes(self.budget)

    @cached_property
    def way(self) -> Way:
        made = Tracked(model.GRID, model.PAGE)
        made.plan = SnapshotPlan(model.GRID, enabled=self.snapshots == "ours")
        return made

    def make_tiers(self, cache: HybridPrefixCache) -> Tiers:
        tiers = super().make_tiers(cache)
        return Stepping(tiers, self) if isinstance(tiers, WithHost) else tiers


class Stepping(Tiers):
    """The replay's host tier, polled after every chunk, as a server does between two forwards."""

    def __init__(self, tiers: WithHost, scenario: HostScenario) -> None:
        geometry = scenario.geometry
        self.whole = tiers
        self.link = tiers.link = CopyingLink(geometry, geometry.with_budget(scenario.host))
        tiers.tier.tickets.transfers = self.link
        self._pages_of = geometry.pages_of
        self.step, self.match = tiers.step, tiers.match  # type: ignore[method-assign]
        self.yield_room, self.admitted = tiers.yield_room, tiers.admitted  # type: ignore[method-assign]
        self.longest = 0
        """Tokens that the request that is being prefilled may still take."""

    def published(self, done: Published) -> None:
        tier = self.whole.tier
        tier.published(done)
        tier.writes.headroom = self._pages_of(self.longest)
        tier.poll()


class Noting(Measures):
    """Remembers what the latest request hit."""

    usable = 0

    def add(self, seen: Seen, cache: HybridPrefixCache) -> None:
        super().add(seen, cache)
        self.usable = seen.usable


class OurServer:
    """One cache with its host tier."""

    def __init__(self, scenario: HostScenario) -> None:
        self.measures = Noting(scenario.spec, scenario.budget)
        self.engine = Engine(scenario, self.measures)

    def serve(self, request: TraceRequest) -> tuple[int, int]:
        """Cached tokens of one request, and those of them that the host gave."""
        before, self.measures.usable = self.host_tokens, 0
        if isinstance(self.engine.tiers, Stepping):
            self.engine.tiers.longest = len(request.key.tokens) // TOKEN_BYTES + request.output
        self.engine.admit(request)
        return self.measures.usable, self.host_tokens - before

    @property
    def _tiers(self) -> WithHost | None:
        tiers = self.engine.tiers
        return tiers.whole if isinstance(tiers, Stepping) else None

    @property
    def host_tokens(self) -> int:
        """Prompt tokens that loads saved."""
        return 0 if self._tiers is None else self._tiers.gains.tokens

    @property
    def copied(self) -> dict[str, int]:
        """Bytes each way."""
        if self._tiers is None:
            return {"load": 0, "write": 0}
        counters = self._tiers.tier.counters
        return {"load": counters.load_bytes, "write": counters.write_bytes}

    @property
    def loads(self) -> int:
        return 0 if self._tiers is None else self._tiers.tier.counters.loads

    @property
    def copy_seconds(self) -> float:
        tiers = self._tiers
        if tiers is None:
            return 0.0
        assert isinstance(tiers.link, CopyingLink)
        return tiers.link.seconds
