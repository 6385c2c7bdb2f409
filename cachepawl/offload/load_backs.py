"""Host to device: a prefix comes back into the tree, once, for all who wait for it.

    host     [0 ........ have ........ depth)   locked by a receipt
    device   [0 ........ have)                  locked by a receipt
                         [have ..... depth)     a row that nobody can match, and a slot
    at the end: the row is published, or given back

Whoever waits holds what was loaded until it is admitted or gives up.

One request may *ride*: run before the load has ended, where its forward waits for the bytes
layer by layer.  The row is the request's then.  It publishes nothing of its own until the
load has; if the load fails it has to end.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ArgumentError
from cachepawl.offload.copies import Copies
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.options import TierCounters
from cachepawl.offload.targets import close_target, copy_into, open_target
from cachepawl.offload.tickets import LOAD, Source, Ticket, Tickets
from cachepawl.tree import Lock, Node
from cachepawl.types import Key


class Load(Enum):
    """What came of asking for a load."""

    STARTED = auto()
    JOINED = auto()
    """Another request's load brings the same."""
    NOTHING = auto()
    """The host has nothing to add."""
    REFUSED = auto()
    """The device has no room."""


class Ride(NamedTuple):
    """A load has ended that a request was running on."""

    request: str
    row: int
    error: str | None
    """None: what was loaded is published, and held for the request.  Otherwise the request must
    end, and publish nothing."""
    replaced: bool
    """The row's pages changed, for the tree had the same: its device row has to be rewritten."""


def nothing_to_prepare() -> None:
    """For arenas without bytes."""


class LoadBacks:
    """Loads under way, and who waits for what."""

    def __init__(
        self,
        device: HybridPrefixCache,
        host: HybridPrefixCache,
        copies: Copies,
        tickets: Tickets,
        counters: TierCounters,
    ) -> None:
        self.device = device
        self.host = host
        self.copies = copies
        self.tickets = tickets
        self.counters = counters
        self.before_start: Callable[[], None] = nothing_to_prepare
        """Clears the frames that turned from state to KV: pages arrive there."""
        self._under_way: dict[tuple[Node, int], Ticket] = {}
        """By the host's node and the depth; without states that may be inside its edge."""
        self._waits: dict[str, Ticket] = {}
        self._rides: dict[str, Ticket] = {}
        self._ended: list[Ride] = []
        self.holds: dict[str, Lock] = {}
        """What was loaded for requests that are not admitted yet."""

    def start(self, request: str, key: Key, found: TierMatch) -> Load:
        """Bring what the host adds to a match that was just made.

        Evicts on the device what it must.  The request is held in mind until `drop`.
        """
        node = found.host_node
        if node is None or request in self._waits:
            return Load.NOTHING if node is None else Load.JOINED
        self.drop(request)
        ticket = self._under_way.get((node, found.usable_len))
        if ticket is not None:
            self._wait(request, ticket)
            return Load.JOINED
        ticket = self._ticket(key, found, node)
        if ticket is None:
            self.counters.loads_refused += 1
            return Load.REFUSED
        self._under_way[node, ticket.depth] = ticket
        self._wait(request, ticket)
        self.device.frames.hold_still(ticket.copy.pages_to)
        self.before_start()
        self.tickets.start(ticket)
        return Load.STARTED

    def _wait(self, request: str, ticket: Ticket) -> None:
        ticket.claims.append(request)
        self._waits[request] = ticket

    def _ticket(self, key: Key, found: TierMatch, node: Node) -> Ticket | None:
        device, host, depth = self.device, self.host, found.usable_len
        have = min(found.device.kv_len, depth)
        top = found.device.deepest
        while top.parent is not None and top.parent.end >= have:
            top = top.parent
        source = Source(node, host.lock(node))
        number = self.tickets.number()
        target = open_target(device, -number, top, have, depth)
        if target is None:
            host.unlock_unused(source.receipt)
            return None
        copy = copy_into(device, target, host.tree, node, depth)
        cut = Key(key.tokens[: depth * device.tree.token_bytes], key.namespace)
        geometry, slots = device.geometry, len(copy.states_to)
        nbytes = copy.pages_to.count * geometry.page_bytes + slots * geometry.state_bytes
        return Ticket(number, LOAD, copy, nbytes, cut, depth, source, target)

    def finish(self, ticket: Ticket, error: str | None) -> None:
        """The transfer has ended: publish what came, or give its place back."""
        device = self.device
        del self._under_way[ticket.source.node, ticket.depth]
        device.frames.let_go(ticket.copy.pages_to)
        if ticket.rider is None:
            node = close_target(device, ticket, error)
        else:
            node = self._end_ride(ticket, ticket.rider, error)
        if node is None:
            self.counters.loads_failed += 1
        else:
            self.counters.loads += 1
            self.counters.load_bytes += ticket.nbytes
            self.counters.load_tokens += ticket.depth - ticket.target.start
            self.copies.note(node, ticket.source.node)
        for request in ticket.claims:
            del self._waits[request]
            if node is not None:
                self.holds[request] = device.lock(node)
        self.host.unlock(ticket.source.receipt)

    # -- who rides ------------------------------------------------------------------------

    def ride(self, request: str, row: int) -> int | None:
        """The request runs as `row` on what it waits for; returns the slot of the loaded state.

        Others may go on waiting for the same load.  ArgumentError if the request waits for
        nothing, or if another one rides already.
        """
        ticket = self._waits.get(request)
        if ticket is None or ticket.rider is not None:
            why = "waits for no load" if ticket is None else f"cannot: {ticket.rider} does"
            raise ArgumentError(f"request {request!r} {why}; only a load under way is ridden, once")
        self.device.refs.rename(ticket.target.row, row)
        self.drop(request)
        self.counters.rides += 1
        ticket.rider, ticket.target = request, ticket.target._replace(row=row)
        self._rides[request] = ticket
        return ticket.target.slot

    def boardable(self, request: str) -> Ticket | None:
        """The load that the request may ride on: the first that waits for it may.

        The same on every rank: whether the load has ended here is not asked.
        """
        ticket = self._waits.get(request)
        if ticket is None or ticket.rider is not None:
            return None
        return ticket if ticket.claims[0] == request else None

    def rides(self, request: str) -> bool:
        """Whether the request runs on a load under way: it can neither publish nor release."""
        return request in self._rides

    def get_off(self, request: str) -> None:
        """The riding request ends: its row, and all in it, is the load's again.

        What it computed is given back; its slots are its own to free.
        """
        ticket = self._rides.pop(request)
        refs, row = self.device.refs, ticket.target.row
        refs.cut(row, ticket.depth // self.device.geometry.page_tokens)
        refs.rename(row, -ticket.number)
        ticket.rider, ticket.target = None, ticket.target._replace(row=-ticket.number)

    def take_ended(self) -> list[Ride]:
        """Rides that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def _end_ride(self, ticket: Ticket, rider: str, error: str | None) -> Node | None:
        device = self.device
        row, _, receipt, slot = ticket.target
        del self._rides[rider]
        node, replaced, taken = None, False, False
        if error is None:
            node, replaced, taken = device.publish(row, ticket.key, ticket.depth, slot)
            device.policy.copied(device.tree, node, ticket.source.node)
            self.holds[rider] = device.lock(node)
            device.unlock_unused(receipt)
        else:
            self.holds[rider] = receipt  # of the path that its row begins on
        if slot is not None and not taken:
            device.free_states((slot,))
        self._ended.append(Ride(rider, row, error, replaced))
        return node

    # -- who waits ------------------------------------------------------------------------

    def waits(self, request: str) -> bool:
        """Whether a load for the request is under way."""
        return request in self._waits

    def pinned(self, request: str) -> int:
        """Tokens of the request's prefix that are kept for it on the device already."""
        ticket, receipt = self._waits.get(request), self.holds.get(request)
        if ticket is not None:
            return ticket.depth
        return 0 if receipt is None else receipt.node.end

    def drop(self, request: str) -> None:
        """The request is admitted, or gives up.  Safe when it holds nothing.

        A load under way goes on: what it brings is cached like anything else.
        """
        ticket = self._waits.pop(request, None)
        if ticket is not None:
            ticket.claims.remove(request)
        receipt = self.holds.pop(request, None)
        if receipt is not None:
            self.device.unlock(receipt)

    def drop_all(self) -> None:
        """Nobody waits or holds anything, but for those that rode and have not been told yet."""
        riders = {ride.request for ride in self._ended}
        for request in [*self._waits, *self.holds]:
            if request not in riders:
                self.drop(request)
