"""A host tier that says what is done to it, as `RecordingCache` does of a cache.

The tier works on the plain cache: what a verb does there follows from the verb, so it is
recorded once.  How transfers went is in `poll`: how many of the oldest ended each way, and
whether one has failed.  Nothing else about them is ever decided upon.
"""

from __future__ import annotations

from time import monotonic

from cachepawl.cache import Published
from cachepawl.offload.load_backs import Load, Ride
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.tickets import LOAD, WRITE, Ready
from cachepawl.offload.tier import HostTier
from cachepawl.record.recording import Put, sizes_of
from cachepawl.tree import Node
from cachepawl.types import Key

MOST_TEXT = 200
"""Characters kept of why a transfer failed."""


class RecordingTier(HostTier):
    """The same tier; `put` gets a record of every call that changed it."""

    def __init__(self, plain: HostTier, put: Put) -> None:
        self.__dict__ = plain.__dict__  # one state under two classes
        self._plain_tier = plain
        self._put = put
        self._found: TierMatch | None = None
        self._named: set[str] = set()
        """Requests with loads or states of their own, until they are settled."""

    # -- in and out ---------------------------------------------------------------------

    def match(self, key: Key, limit: int | None = None) -> TierMatch:
        found = self._found = self._plain_tier.match(key, limit)
        kv, usable, node, _ = found.device
        there = None if found.host_node is None else found.host_node.serial
        what = (kv, usable, node.serial, found.usable_len, there, found.load_tokens)
        self._put(("host_match", monotonic(), *key, limit, *what))
        return found

    def load(self, request: str, key: Key, found: TierMatch) -> Load:
        assert found is self._found, "a load for a match that was not the latest"
        come = self._plain_tier.load(request, key, found)
        where: tuple[int, ...] = ()
        if come is Load.STARTED:
            copy = self.tickets.under_way[LOAD][-1].copy
            where = (*(n for run in copy.pages_to.runs for n in run), *copy.states_to)
        if come in (Load.STARTED, Load.JOINED):
            self._named.add(request)
        self._put(("host_load", monotonic(), request, come.name, where))
        return come

    def used(self, node: Node) -> None:
        self._plain_tier.used(node)
        if node.parent is not None and self.failure is None:
            self._put(("host_used", monotonic(), node.serial))

    def published(self, done: Published) -> None:
        self._plain_tier.published(done)
        self._put(("host_published", monotonic(), done.node.serial, done.state_taken))

    def retract(self, request: str, node: Node) -> None:
        self._plain_tier.retract(request, node)
        self._named.add(request)
        self._put(("host_retract", monotonic(), request, node.serial))

    def back_up(self, request: str, node: Node) -> bool:
        started = self._plain_tier.back_up(request, node)
        self._named.add(request)
        self._put(("host_back_up", monotonic(), request, node.serial, started))
        return started

    def goes_on(self, request: str, tokens: int) -> None:
        self._plain_tier.goes_on(request, tokens)
        if request in self._named:
            self._put(("host_goes_on", monotonic(), request, tokens))

    def settle(self, request: str) -> None:
        self._plain_tier.settle(request)
        if request in self._named:
            self._named.discard(request)
            self._put(("host_settle", monotonic(), request))

    def yield_holds(self) -> None:
        if self.loads.holds:
            self._plain_tier.yield_holds()
            self._put(("host_yield_holds", monotonic()))

    # -- who rides ----------------------------------------------------------------------

    def ride(self, request: str, row: int) -> int | None:
        slot = self._plain_tier.ride(request, row)
        self._put(("host_ride", monotonic(), request, row, slot))
        return slot

    def get_off(self, request: str) -> None:
        self._plain_tier.get_off(request)
        self._put(("host_get_off", monotonic(), request))

    def rides_ended(self) -> list[Ride]:
        ended = self._plain_tier.rides_ended()
        if ended:
            self._put(("host_rides_ended", monotonic(), landed(self, ended)))
        return ended

    # -- a step, and the whole ------------------------------------------------------------

    def poll(self, agreed: Ready | None = None) -> Ready:
        """Recorded where it did something: a server that waits polls all the time.

        Where a transfer has failed each direction has a line, so that the line says which.
        """
        done = self.ready() if agreed is None else agreed
        if not done.healthy:
            self.end_loads(done)
            self.end_writes(done)
            self.poll(Ready())
            return done
        before = self._marks()
        self._plain_tier.poll(done)
        if done.writes or done.loads or self._marks() != before:
            what = (done.writes, done.loads, True, "")
            self._put(("host_poll", monotonic(), *what, tier_sizes_of(self)))
        return done

    def end_loads(self, agreed: Ready) -> None:
        self._plain_tier.end_loads(agreed)
        self._ended("host_end_loads", agreed.loads, agreed.sound_loads)

    def end_writes(self, agreed: Ready) -> None:
        self._plain_tier.end_writes(agreed)
        self._ended("host_end_writes", agreed.writes, agreed.sound_writes)

    def _ended(self, verb: str, count: int, sound: int) -> None:
        if count:
            why = "" if count == sound else (self.failure or "")[:MOST_TEXT]
            self._put((verb, monotonic(), count, count == sound, why, tier_sizes_of(self)))

    def _marks(self) -> tuple[object, ...]:
        """What any step of a poll would change; a few numbers."""
        tickets, writes, counters = self.tickets, self.writes, self.counters
        return (
            self.device.tree.clock,
            self.host.tree.clock,
            tickets.started,
            len(writes),
            writes.demand.state,
            counters.evicted_ahead,
            counters.writes_skipped,
            counters.retractions_kept,
        )

    def reset(self) -> None:
        self._plain_tier.reset()
        self._named.clear()
        serials = (self.device.tree.serial, self.host.tree.serial)
        why = (self.failure or "")[:MOST_TEXT]
        self._put(("host_reset", monotonic(), *serials, why))

    def drain(self) -> None:
        self._plain_tier.drain()
        self._put(("host_drain", monotonic(), tier_sizes_of(self)))

    # -- what the calls were for ----------------------------------------------------------

    def note_brought(self, request: str, prefix: int, tokens: int) -> None:
        """A request is admitted on `prefix` cached tokens; `tokens` of them were loaded for it."""
        if request in self._named:
            self._put(("host_brought", monotonic(), request, prefix, tokens))

    def note_sizes(self) -> None:
        """How large everything on the host is."""
        self._put(("host_sizes", monotonic(), sizes_of(self.host)))


def landed(tier: HostTier, ended: list[Ride]) -> tuple[int, ...]:
    """Of each: its row, and the node that its path is held at."""
    holds = tier.loads.holds
    return tuple(n for ride in ended for n in (ride.row, holds[ride.request].node.serial))


def tier_sizes_of(tier: HostTier) -> tuple[int, ...]:
    """What two tiers in the same state agree on, in numbers; O(1)."""
    tickets, frames = tier.tickets, tier.host.frames
    return (
        len(tickets.under_way[WRITE]),
        tickets.nbytes[WRITE],
        len(tickets.under_way[LOAD]),
        tickets.nbytes[LOAD],
        len(tier.writes),
        len(tier.loads.holds),
        len(tier.retracted),
        tier.host.tree.num_nodes,
        frames.free_frames,
        frames.kv_pages,
        tier.device.frames.free_frames,
    )


TIER_SIZES = (
    "writes under way", "their bytes", "loads under way", "their bytes", "writes wanted", "holds",
    "retracted", "nodes on the host", "free frames there", "pages there",
    "free frames on the device",
)  # fmt: skip
