"""Device to host: what is written, and what becomes of it.

    device   [0 ........ have ........ depth)   locked by a receipt, its frames held still
    host     [0 ........ have)                  locked by a receipt
                         [have ..... depth)     a row that nobody can match, and a slot
    at the end: the row is published, or given back

Written is a node's end: its state, and what of the KV below it the host lacks.  KV that no
state makes usable is never written for its own sake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto

from cachepawl.cache import HybridPrefixCache
from cachepawl.offload.copies import Copies
from cachepawl.offload.demand import Demand
from cachepawl.offload.options import TierCounters, TierOptions
from cachepawl.offload.targets import close_target, copy_into, open_target
from cachepawl.offload.tickets import LOAD, WRITE, Source, Ticket, Tickets
from cachepawl.offload.under_way import UnderWay
from cachepawl.policy.base import Victim
from cachepawl.tree import Lock, Match, Node
from cachepawl.types import Key

MOST_GONE = 1024
"""Evicted nodes in the queue, before it is looked through."""
MOST_VICTIMS = 64
"""Victims looked at in one step by a policy that writes before eviction."""
MOST_PUT_OFF = 64
"""Nodes in the queue passed over in one step, for their KV is under way with another's."""


class Answer(Enum):
    """What came of an attempt to write a node."""

    STARTED = auto()
    NOTHING = auto()
    """It is there already, has left, or nothing could use it."""
    FULL = auto()
    """The host has no room."""
    LATER = auto()
    """The quota is used up, or the device needs the room."""
    UNDER_WAY = auto()
    """Some of its KV is on the way with another node's: once that has ended, less is missing."""


class WriteBacks:
    """The queue of what is wanted, oldest first; what is urgent before it."""

    def __init__(
        self,
        device: HybridPrefixCache,
        host: HybridPrefixCache,
        copies: Copies,
        tickets: Tickets,
        options: TierOptions,
        counters: TierCounters,
    ) -> None:
        self.device = device
        self.host = host
        self.copies = copies
        self.tickets = tickets
        self.options = options
        self.counters = counters
        self.headroom = _headroom(options, device)
        """Pages that must stay obtainable on the device when a write-back pins more; whoever
        knows better what running requests will take may set it."""
        self.demand = Demand(device, options.free_frames)
        self._full: tuple[object, ...] = ()
        """The victim that the host had no room for, and what was there then."""
        self._wanted: deque[Node] = deque()
        self._queued: set[Node] = set()
        self.under_way = UnderWay(device.tree)

    def __len__(self) -> int:
        return len(self._wanted)

    # -- what is wanted -----------------------------------------------------------------

    def want(self, node: Node) -> None:
        """Write it when there is a chance."""
        if node not in self._queued:
            self._queued.add(node)
            self._wanted.append(node)
            if len(self._wanted) > MOST_GONE + 2 * self.device.tree.num_nodes:
                self._forget_gone()

    def want_first(self, node: Node) -> None:
        """Write it before all else.  Costs the queue."""
        if node in self._queued:
            self._wanted.remove(node)
        self._queued.add(node)
        self._wanted.appendleft(node)

    def _forget_gone(self) -> None:
        self._wanted = deque(node for node in self._wanted if node.owner is not None)
        self._queued = set(self._wanted)

    def clear(self) -> None:
        """Want nothing."""
        self._wanted.clear()
        self._queued.clear()

    def reset(self) -> None:
        """Both tiers are empty: as at the start."""
        self.clear()
        self.demand = Demand(self.device, self.options.free_frames)
        self._full = ()

    def start_wanted(self) -> None:
        """Start what the quota allows, in order; what shares KV with those under way waits."""
        put_off: list[Node] = []
        while self._wanted and len(put_off) < MOST_PUT_OFF:
            answer = self.start(self._wanted[0])
            if answer is Answer.LATER:
                break
            node = self._wanted.popleft()
            if answer is Answer.UNDER_WAY:
                put_off.append(node)
            else:
                self._queued.discard(node)
        self._wanted.extendleft(reversed(put_off))

    def start_victims(self) -> None:
        """Write what the device would evict next, until enough is free there.

        What is on the host already goes at once, the rest when its copy is there.
        """
        self.demand.look()
        put_off: list[Lock] = []
        self._write_and_evict(put_off)
        for receipt in put_off:
            self.device.unlock_unused(receipt)
        self.demand.mark()

    def _write_and_evict(self, put_off: list[Lock]) -> None:
        """Victims that have to wait for another's copy are locked, so that others come up."""
        device, enough = self.device, self.demand.frames
        coming = sum(ticket.victim is not None for ticket in self.tickets.under_way[WRITE])
        for _ in range(MOST_VICTIMS):
            if device.frames.free_frames + coming >= enough:
                return
            victim = device.policy.victim(device.tree)
            if victim is None:
                return
            if self._full == (*victim, *self._there()):
                return
            answer = self.start(victim.node, victim)
            if answer is Answer.FULL:
                self._full = (*victim, *self._there())
            if answer is Answer.NOTHING:
                device.evict_victim(victim, device.policy.name)
                self.counters.evicted_ahead += 1
            elif answer is Answer.UNDER_WAY:
                put_off.append(device.lock(victim.node))
            elif answer is not Answer.STARTED:
                return
            coming += answer is Answer.STARTED

    def _there(self) -> tuple[int, int]:
        """What changes when room on the host does."""
        return self.host.tree.clock, self.host.frames.free_frames

    # -- one of them --------------------------------------------------------------------

    def start_now(self, node: Node) -> bool:
        """Start without regard to the quota and to what running requests may need.

        False if there is nothing to write, no room on the host, or some of it is under way with
        another's: no byte is written twice, so those are ended first.
        """
        return self.start(node, patient=False) is Answer.STARTED

    def start(self, node: Node, victim: Victim | None = None, *, patient: bool = True) -> Answer:
        """Write a node's end, if there is something to write and room for it.

        A victim is evicted when its copy is there, unless it was used meanwhile.  LATER is
        answered to the patient alone.
        """
        tree = self.device.tree
        if node.owner is not tree.root or (tree.has_states and node.state is None):
            return Answer.NOTHING
        if self.copies.complete(node):
            return Answer.NOTHING
        key = tree.path_key(node)
        there = self.host.tree.peek(key)
        if (there.usable_len if tree.has_states else there.kv_len) == node.end:
            self.copies.note(node, there.node)
            return Answer.NOTHING
        missing = list(missing_nodes(node, there.kv_len))
        if any(one in self.under_way for one in missing):
            return Answer.UNDER_WAY
        nbytes = self._bytes(node, there)
        if patient and not self._within_quota(nbytes):
            return Answer.LATER
        receipt = self._lock(node) if patient else self.device.lock(node)
        if receipt is None:
            return Answer.LATER
        ticket = self._ticket(node, key, there, receipt, nbytes)
        if ticket is None:
            self.device.unlock_unused(receipt)
            self.counters.writes_skipped += 1
            return Answer.FULL
        if victim is not None:
            ticket.victim, ticket.stamp = victim, _stamp(victim)
        self.under_way.add(ticket, missing)
        self.device.frames.hold_still(ticket.copy.pages_from)
        self.tickets.start(ticket)
        return Answer.STARTED

    def _bytes(self, node: Node, there: Match) -> int:
        geometry = self.device.geometry
        return geometry.pages_of(node.end - there.kv_len) * geometry.page_bytes + (
            geometry.state_bytes
        )

    def _within_quota(self, nbytes: int) -> bool:
        busy = bool(self.tickets.under_way[LOAD])
        most = self.options.write_bytes_beside_loads if busy else self.options.write_bytes
        under_way = self.tickets.nbytes[WRITE]
        return under_way + nbytes <= most or not (under_way or busy)

    def _lock(self, node: Node) -> Lock | None:
        """Keep the source; None where running requests may need what that pins."""
        device = self.device
        frames = device.frames
        before = frames.obtainable_pages(device.tree.state_evictable)
        receipt = device.lock(node)
        after = frames.obtainable_pages(device.tree.state_evictable)
        if after < min(before, self.headroom):
            device.unlock_unused(receipt)
            return None
        return receipt

    def _ticket(
        self, node: Node, key: Key, there: Match, receipt: Lock, nbytes: int
    ) -> Ticket | None:
        """Room on the host for what is missing there; None if there is none."""
        number = self.tickets.number()
        target = open_target(self.host, number, there.deepest, there.kv_len, node.end)
        if target is None:
            return None
        copy = copy_into(self.host, target, self.device.tree, node, node.end)
        return Ticket(number, WRITE, copy, nbytes, key, node.end, Source(node, receipt), target)

    def finish(self, ticket: Ticket, error: str | None) -> None:
        """The transfer has ended: publish the copy, or give its place back."""
        node = ticket.source.node
        self.device.frames.let_go(ticket.copy.pages_from)
        self.under_way.end(ticket)
        there = close_target(self.host, ticket, error)
        if there is None:
            self.counters.writes_failed += 1
        else:
            self.counters.writes += 1
            self.counters.write_bytes += ticket.nbytes
            self.copies.note(node, there)
        victim = ticket.victim
        unused = victim is not None and there is not None and _stamp(victim) == ticket.stamp
        self.device.unlock_unused(ticket.source.receipt)
        if unused and victim is not None:
            self._give_up(victim)

    def _give_up(self, victim: Victim) -> None:
        """Evict what was written to be evicted, unless it is held by somebody else now."""
        node = victim.node
        held = node.children or node.full_lock if victim.kind == "kv" else node.state_lock
        if not held:
            self.device.evict_victim(victim, self.device.policy.name)
            self.counters.evicted_ahead += 1


def _headroom(options: TierOptions, device: HybridPrefixCache) -> int:
    """At most half of the device: else nothing could ever be written from a small one."""
    frames = min(options.headroom_frames, device.geometry.usable_frames / 2)
    return int(frames * device.frames.pages_per_frame)


def missing_nodes(node: Node, have: int) -> Iterator[Node]:
    """Nodes of a path with KV behind its first `have` tokens, deepest first; at least the last.

    A state that is missing at the end of KV that is not is in the last as well.
    """
    yield node
    step = node.parent
    while step is not None and step.end > have:
        yield step
        step = step.parent


def _stamp(victim: Victim) -> int:
    """When it was last used."""
    return victim.node.kv_stamp if victim.kind == "kv" else victim.node.state_stamp
