"""What a replayed server has beside its device: nothing, or a host tier behind a link.

Time is the trace's.  A load takes its bytes over the link's bandwidth, behind the loads before
it, and the request waits for it; nothing else takes time.  Write-backs have their own way.

What a request publishes chunk by chunk is all there at once here, for a prefill takes no time.
A server has acknowledged the copy of one chunk when the next is published, and copies only what
is new.  So written through is one after the other, which takes the link as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.offload.load_backs import Load
from cachepawl.offload.options import TierOptions
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Direction, Order, Outcome
from cachepawl.offload.writing.base import WritePolicy
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry
from cachepawl.tree import Match, Node
from cachepawl.types import Key

Fits = Callable[[int], bool]
"""Whether a request that starts from so many tokens of the device fits, its load included."""


class Found(NamedTuple):
    """What a request finds."""

    match: Match
    """On the device."""
    kv_len: int
    """Tokens of KV that one of the tiers has."""


class Tiers(Protocol):
    """What a request finds, and who is told of it."""

    def step(self, at: float, owed: int) -> None:
        """It is `at` seconds; running requests will still take `owed` tokens."""

    def match(self, request: str, key: Key, limit: int, fits: Fits) -> Found:
        """What the request may start from, after the load that it waited for."""

    def yield_room(self) -> bool:
        """Nothing runs and nothing fits: pin nothing on the device.  False if nothing was."""

    def admitted(self, request: str, node: Node) -> None:
        """It runs, from a node of the device that it has locked."""

    def published(self, done: Published) -> None:
        """A request has published."""


class DeviceAlone:
    """No host."""

    def __init__(self, cache: HybridPrefixCache) -> None:
        self._cache = cache

    def step(self, at: float, owed: int) -> None:
        pass

    def match(self, request: str, key: Key, limit: int, fits: Fits) -> Found:
        match = self._cache.match(key, limit)
        return Found(match, match.kv_len)

    def yield_room(self) -> bool:
        return False

    def admitted(self, request: str, node: Node) -> None:
        pass

    def published(self, done: Published) -> None:
        pass


class Link:
    """Transfers that take their bytes over a bandwidth, one after the other each way."""

    def __init__(self, geometry: Geometry, bytes_per_second: float) -> None:
        self.now = 0.0
        """Seconds of the trace."""
        self.busy = dict.fromkeys(Direction, 0.0)
        """Seconds that bytes were under way."""
        self.until = dict.fromkeys(Direction, 0.0)
        """When all that was started has ended."""
        self._geometry = geometry
        self._speed = bytes_per_second
        self._ends: dict[Direction, deque[tuple[float, int]]] = {d: deque() for d in Direction}

    def start(self, order: Order) -> None:
        geometry, way = self._geometry, order.direction
        nbytes = order.copy.pages_from.count * geometry.page_bytes
        nbytes += len(order.copy.states_from) * geometry.state_bytes
        self.busy[way] += nbytes / self._speed
        self.until[way] = max(self.now, self.until[way]) + nbytes / self._speed
        self._ends[way].append((self.until[way], order.ticket))

    def next_end(self) -> float | None:
        """When the next transfer ends, or has ended; None without one."""
        return min((ends[0][0] for ends in self._ends.values() if ends), default=None)

    def finished(self) -> list[Outcome]:
        out = []
        for ends in self._ends.values():
            while ends and ends[0][0] <= self.now:
                out.append(Outcome(ends.popleft()[1], None))
        return out

    def wait(self) -> None:
        self.now = max(self.now, *self.until.values())


@dataclass
class Gains:
    """What loads brought, beside the tier's own counters."""

    tokens: int = 0
    """Prompt tokens that loads saved."""
    flops: int = 0
    """Of prefilling them."""
    seconds: float = 0.0
    """That requests waited for loads."""


def _options(writing: WritePolicy) -> TierOptions:
    """`write_back` writes victims of several paths side by side, in a server too."""
    if writing.before_eviction:
        return TierOptions(headroom_frames=0)
    return TierOptions(headroom_frames=0, write_bytes=1, write_bytes_beside_loads=1)


class WithHost:
    """A host tier behind a link."""

    def __init__(
        self,
        cache: HybridPrefixCache,
        geometry: Geometry,
        link: Link,
        writing: WritePolicy,
        flops: Callable[[int], int],
    ) -> None:
        """`geometry`: the host arena's.  `flops`: of prefilling a prompt of so many tokens."""
        self.link = link
        self.gains = Gains()
        self._flops = flops
        self.tier = HostTier(
            cache,
            geometry,
            link,
            writing,
            options=_options(writing),
        )

    def step(self, at: float, owed: int) -> None:
        link = self.link
        self.tier.writes.headroom = self.tier.device.geometry.pages_of(owed)
        self.tier.poll()
        while (next_end := link.next_end()) is not None and next_end <= at:
            link.now = max(link.now, next_end)
            self.tier.poll()
        link.now = max(link.now, at)

    def match(self, request: str, key: Key, limit: int, fits: Fits) -> Found:
        tier, link = self.tier, self.link
        found = tier.match(key, limit)
        if found.host_node is None or not fits(found.device.usable_len):
            return Found(found.device, found.kv_len)
        if tier.load(request, key, found) is not Load.STARTED:
            return Found(found.device, found.kv_len)
        ends = link.until[Direction.LOAD_BACK]
        self.gains.seconds += ends - link.now
        link.now = ends
        tier.poll()
        again = tier.device.match(key, limit)
        before, after = found.device.usable_len, again.usable_len
        self.gains.tokens += after - before
        self.gains.flops += self._flops(after) - self._flops(before)
        return Found(again, max(found.kv_len, again.kv_len))

    def yield_room(self) -> bool:
        tier = self.tier
        if not (len(tier.tickets) or tier.loads.holds):
            return False
        tier.yield_holds()
        tier.writes.headroom = UNLIMITED
        self.link.wait()
        tier.poll()
        return True

    def admitted(self, request: str, node: Node) -> None:
        self.tier.used(node)
        self.tier.settle(request)

    def published(self, done: Published) -> None:
        self.tier.published(done)

    def figures(self) -> dict[str, int | float]:
        """Totals at the end."""
        stats = self.tier.stats()
        names = ("writes", "write_bytes", "writes_skipped", "loads", "load_bytes",
                 "loads_refused", "evicted_tokens", "evicted_states")  # fmt: skip
        return {
            **{name: stats[f"host_{name}"] for name in names},
            "loaded_prompt_tokens": self.gains.tokens,
            "loaded_prompt_flops": self.gains.flops,
            "load_seconds": self.link.busy[Direction.LOAD_BACK],
            "write_seconds": self.link.busy[Direction.WRITE_BACK],
            "waited_seconds": self.gains.seconds,
        }
