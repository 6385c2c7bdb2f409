"""The verbs of a host tier on real caches, beside those of the device's cache.

Bytes are moved by nobody: a transfer has ended when the log says that it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cachepawl.cache import Published
from cachepawl.offline.recorded.calls import Calls, Differs, Slots
from cachepawl.offline.recorded.paths import Paths, Place
from cachepawl.offload.load_backs import Load
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.tickets import LOAD, WRITE, Ready
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Direction, Order, Outcome
from cachepawl.record.recording import sizes_of
from cachepawl.record.recording_tier import tier_sizes_of
from cachepawl.tree import Miss
from cachepawl.types import Key


class Followed:
    """Transfers that end when they are told to."""

    def __init__(self) -> None:
        self._open: dict[Direction, deque[int]] = {WRITE: deque(), LOAD: deque()}
        self._ended: list[Outcome] = []

    def start(self, order: Order) -> None:
        self._open[order.direction].append(order.ticket)

    def end(self, direction: Direction, count: int, error: str | None) -> None:
        """The oldest `count` of a direction have ended.  Differs where there are fewer."""
        under_way = self._open[direction]
        if count > len(under_way):
            raise Differs(f"{len(under_way)} transfers under way")
        self._ended += [Outcome(under_way.popleft(), error) for _ in range(count)]

    def finished(self) -> list[Outcome]:
        ended, self._ended = self._ended, []
        return ended

    def wait(self) -> None:
        for direction, under_way in self._open.items():
            self.end(direction, len(under_way), None)


class TierCalls(Calls):
    """As `Calls`; `first_host` is to the host's tree what `first` is to the device's."""

    def __init__(
        self,
        tier: HostTier,
        moving: Followed,
        paths: Paths,
        *,
        first: int | None,
        first_host: int = 0,
    ) -> None:
        super().__init__(tier.device, paths, first=first)
        self.tier = tier
        self._moving = moving
        self._first_host = first_host
        self._both: TierMatch | None = None
        self._had: dict[str, int] = {}
        """Tokens that a request would have had without its loads."""

    def host_match(
        self, place: Place, limit: int | None
    ) -> tuple[int, int, int, int, int | None, int]:
        found = self._both = self.tier.match(self._paths.key(place), limit)
        self.found = found.device
        self._latest = place, limit
        there = None if found.host_node is None else found.host_node.serial + self._first_host
        return (
            found.device.kv_len,
            found.device.usable_len,
            self._name(found.device.node),
            found.usable_len,
            there,
            found.load_tokens,
        )

    def host_load(self, request: str) -> tuple[str, Slots]:
        found = self._both
        if found is None:
            raise Differs("no match before it")
        come = self.tier.load(request, self._key(), found)
        where: tuple[int, ...] = ()
        if come is Load.STARTED:
            copy = self.tier.tickets.under_way[LOAD][-1].copy
            where = (*(n for run in copy.pages_to.runs for n in run), *copy.states_to)
        if come in (Load.STARTED, Load.JOINED):
            self._had.setdefault(request, found.device.usable_len)
        return come.name, where

    def _key(self) -> Key:
        assert self._latest is not None
        return self._paths.key(self._latest[0])

    def host_used(self, node: int) -> tuple[()]:
        self.tier.used(self._node(node))
        return ()

    def host_published(self, node: int, taken: bool) -> tuple[()]:
        self.tier.published(Published(self._node(node), False, taken))
        return ()

    def host_retract(self, request: str, node: int) -> tuple[()]:
        self.tier.retract(request, self._node(node))
        return ()

    def host_back_up(self, request: str, node: int) -> tuple[bool]:
        return (self.tier.back_up(request, self._node(node)),)

    def host_goes_on(self, request: str, tokens: int) -> tuple[()]:
        self.tier.goes_on(request, tokens)
        return ()

    def host_settle(self, request: str) -> tuple[()]:
        self._had.pop(request, None)
        self.tier.settle(request)
        return ()

    def host_yield_holds(self) -> tuple[()]:
        self.tier.yield_holds()
        return ()

    def host_ride(self, request: str, row: int) -> tuple[int | None]:
        return (self.tier.ride(request, row),)

    def host_get_off(self, request: str) -> tuple[()]:
        self.tier.get_off(request)
        return ()

    def host_rides_ended(self) -> tuple[tuple[int, ...]]:
        holds = self.tier.loads.holds
        ended = [(ride.row, holds[ride.request].node) for ride in self.tier.rides_ended()]
        return (tuple(n for row, node in ended for n in (row, self._name(node))),)

    def host_poll(self, writes: int, loads: int, healthy: bool, why: str) -> tuple[tuple[int, ...]]:
        return self._ended(Ready.sound(writes, loads), healthy, why, self.tier.poll)

    def host_end_loads(self, loads: int, healthy: bool, why: str) -> tuple[tuple[int, ...]]:
        return self._ended(Ready.sound(0, loads), healthy, why, self.tier.end_loads)

    def host_end_writes(self, writes: int, healthy: bool, why: str) -> tuple[tuple[int, ...]]:
        return self._ended(Ready.sound(writes, 0), healthy, why, self.tier.end_writes)

    def _ended(
        self, all_of_them: Ready, healthy: bool, why: str, end: Callable[[Ready], object]
    ) -> tuple[tuple[int, ...]]:
        """Where all is not well, the last has failed."""
        writes, loads, _, _ = all_of_them
        if healthy:
            agreed = all_of_them
        else:
            agreed = Ready(writes, loads, max(0, writes - 1), max(0, loads - 1))
        for direction, count, sound in (
            (WRITE, writes, agreed.sound_writes),
            (LOAD, loads, agreed.sound_loads),
        ):
            self._moving.end(direction, sound, None)
            self._moving.end(direction, count - sound, why)
        self.tier.ready()
        end(agreed)
        return (tier_sizes_of(self.tier),)

    def host_reset(self, serial: int, there: int, why: str) -> tuple[()]:
        self.tier.reset()
        latest = self.cache.tree.serial + self._first, self.tier.host.tree.serial + self._first_host
        if latest != (serial, there):
            raise Differs(f"{latest} as the latest nodes")
        self._nodes = {0: self.cache.tree.root}
        self._had.clear()
        return ()

    def host_drain(self) -> tuple[tuple[int, ...]]:
        self.tier.drain()
        return (tier_sizes_of(self.tier),)

    # -- notes ------------------------------------------------------------------------------

    def _explain(self, limit: int | None) -> list[Miss]:
        if self._both is None or self._both.device is not self.found:
            return super()._explain(limit)
        return self.tier.explain(self._key(), self._both, limit)

    def host_brought(self, request: str, prefix: int) -> tuple[int]:
        had = self._had.get(request)
        return (0 if had is None else max(0, prefix - had),)

    def host_sizes(self) -> tuple[tuple[int, ...]]:
        return (sizes_of(self.tier.host),)
