"""`HostTier`: a second cache on the host beside the one on the device.  No torch.

Both tiers are the same class over arenas of the same geometry: tree, frames, a policy.  The
host's requests are transfers.  Bytes are moved by whoever is handed in as `Transfers`.

    match -> load -> (poll) -> match again: a hit        on the way in
    used, published -> (poll) -> on the host             on the way out
    retract -> (poll) -> match -> settle                 for who has to stop

`poll` is called once a step, where nothing that was promised is still to be allocated: only
there write-backs begin and anything ends.  Every other verb costs the path it walks.
"""

from __future__ import annotations

from collections.abc import Callable

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.errors import ConfigError, InvariantError
from cachepawl.observe.series import OF_BOTH
from cachepawl.offload.checks import violations
from cachepawl.offload.copies import Copies
from cachepawl.offload.load_backs import Load, LoadBacks, Ride
from cachepawl.offload.matching import TierMatch, add_host, alone
from cachepawl.offload.options import TierCounters, TierOptions
from cachepawl.offload.retracted import Retracted
from cachepawl.offload.tickets import LOAD, WRITE, Ready, Ticket, Tickets
from cachepawl.offload.transfers import Transfers
from cachepawl.offload.write_backs import WriteBacks
from cachepawl.offload.writing.base import WritePolicy
from cachepawl.policy.base import EvictionPolicy
from cachepawl.pool.geometry import Geometry
from cachepawl.tree import Miss, Node
from cachepawl.types import Key

DROPPED = "dropped by a reset"


def nobody_to_tell(reason: str) -> None:
    """Where nobody listens."""


class HostTier:
    """The host tier of one device cache.

    `geometry`: the host arena's, of the device's shapes.  `policy`: what the host evicts
    first; the device's own stands beside itself by default, and what requests teach is then
    shared.  ConfigError for an arena of other shapes.
    """

    def __init__(
        self,
        device: HybridPrefixCache,
        geometry: Geometry,
        transfers: Transfers,
        writing: WritePolicy,
        *,
        policy: EvictionPolicy | None = None,
        options: TierOptions | None = None,
    ) -> None:
        _require_same_shapes(device.geometry, geometry)
        options = options or TierOptions()
        slots = 1 if geometry.state is not None else 0
        self.device = device
        policy = policy or device.policy.beside()
        self.host = HybridPrefixCache(geometry, states_per_request=slots, policy=policy)
        self.writing = writing
        self.options = options
        self.counters = TierCounters()
        self.tickets = Tickets(transfers)
        self.copies = Copies(device.tree, self.host.tree)
        self.writes = WriteBacks(
            device, self.host, self.copies, self.tickets, options, self.counters
        )
        self.loads = LoadBacks(device, self.host, self.copies, self.tickets, self.counters)
        self.retracted = Retracted(self.host, self.copies, self.counters)
        self.failure: str | None = None
        """Why the host is out of use; None while it is in use."""
        self.on_failure: Callable[[str], None] = nobody_to_tell
        """Told once, when the host goes out of use."""

    # -- looking up ---------------------------------------------------------------------

    def match(self, key: Key, limit: int | None = None) -> TierMatch:
        """What both tiers have of a key.  Changes recency only.

        Looks at the host only where it could add something.
        """
        device = self.device.match(key, limit)
        length = len(key.tokens) // self.device.tree.token_bytes
        most = length if limit is None else min(limit, length)
        most -= most % self.device.geometry.page_tokens
        if self.failure is not None:
            return alone(device)
        if most < device.usable_len + self.options.least_gain:
            self._use_copy(device.node)
            return alone(device)
        return add_host(device, self.host, key, limit, self.options.least_gain)

    def _use_copy(self, node: Node) -> None:
        """A hit on the device is a use of its copy: it must not be the older for it."""
        there = self.copies.of(node)
        if there is not None:
            self.host.tree.use(there)

    def explain(self, key: Key, found: TierMatch, limit: int | None = None) -> list[Miss]:
        """Why the device cannot serve more now; see `RadixTree.explain`."""
        elsewhere = found.usable_len if found.host_node is not None else 0
        return self.device.tree.explain(key, found.device, limit, elsewhere)

    def has_copy(self, node: Node) -> bool:
        """Whether what a device node has at its end is known to be on the host.  O(1)."""
        return self.failure is None and self.copies.complete(node)

    # -- loading ------------------------------------------------------------------------

    def load(self, request: str, key: Key, found: TierMatch) -> Load:
        """Begin to bring back what the host adds to a match; `found` was just made.

        Whether the rest of the request would fit too is the caller's question to `fits`.
        The request waits (`waits`) until a `poll` ends the load; then a match hits, what
        it hits is held for the request, and `settle` lets go of it.
        """
        return Load.NOTHING if self.failure is not None else self.loads.start(request, key, found)

    def waits(self, request: str) -> bool:
        """Whether a load for the request is under way."""
        return self.loads.waits(request)

    def ride(self, request: str, row: int) -> int | None:
        """A request that waits runs at once, as `row`: its forward waits for the bytes.

        The row begins with what is loaded; the returned slot will hold the state at its end, to
        be copied by that forward, which is launched before the next `poll`.  Until `rides_ended`
        names it the request may grow, and may not publish or release; see `get_off`.
        """
        return self.loads.ride(request, row)

    def get_off(self, request: str) -> None:
        """A riding request ends early; its row is no longer its own, and neither released nor
        closed by it.  The load goes on."""
        self.loads.get_off(request)

    def rides_ended(self) -> list[Ride]:
        """Rides that `poll` has ended since the last call."""
        return self.loads.take_ended()

    def settle(self, request: str) -> None:
        """The request is admitted, or gone for good: nothing is kept for it any more."""
        self.loads.drop(request)
        self.retracted.drop(request)

    def yield_holds(self) -> None:
        """Let go of all that was loaded for requests still waiting: it may be evicted again.

        For a server where nothing runs and nothing can be admitted.  There may be transfers
        under way that pin memory as well: wait for those before giving up a prefix.
        """
        for request in list(self.loads.holds):
            self.loads.drop(request)

    # -- writing ------------------------------------------------------------------------

    def used(self, node: Node) -> None:
        """A request was admitted on what this node has."""
        if self.failure is None and node.parent is not None:
            self._note_use(node)

    def published(self, done: Published) -> None:
        """A request has published up to a node."""
        there = self.copies.of(done.node)
        if there is not None and there.end == done.node.end:
            self.host.policy.copied(self.host.tree, there, done.node)
        if self.failure is not None or self._note_use(done.node) or not done.state_taken:
            return
        # The state is new; its KV may have gone to the host long ago.
        key = self.device.tree.path_key(done.node)
        if self.host.tree.peek(key).kv_len == done.node.end:
            self.writes.want(done.node)

    def _note_use(self, node: Node) -> bool:
        wanted = self.writing.wants(self.copies.count_use(node))
        if wanted and not self.copies.complete(node):
            self.writes.want(node)
        return wanted

    def retract(self, request: str, node: Node) -> None:
        """A request stops; `node` is where it published last, its live state if it could.

        That goes to the host before all else, and stays there until `settle`.
        """
        if self.failure is None and node.parent is not None:
            self.retracted.add(request, node)
            self.writes.want_first(node)

    def back_up(self, request: str, node: Node) -> bool:
        """As `retract`, and begin now, whatever the quota; whether that was done.

        For who needs the request's room at once: wait for the copy, then `end_writes`.  What
        shares KV with a write-back under way does not begin: end those first (`end_writes`), or
        it is the first that a later `poll` begins.
        """
        self.retract(request, node)
        return self.failure is None and self.writes.start_now(node)

    def goes_on(self, request: str, tokens: int) -> None:
        """A request is admitted on a prefix of so many tokens; counted if it was retracted."""
        self.retracted.note_resumed(request, tokens)

    # -- once a step --------------------------------------------------------------------

    def ready(self) -> Ready:
        """What has ended here, for ranks to agree on.  Never blocks."""
        self.tickets.collect()
        return self.tickets.ready()

    def poll(self, agreed: Ready | None = None) -> Ready:
        """End what has ended, loads first, then begin what is wanted.  Never blocks.

        `agreed`: on how many of the oldest tickets the ranks agree; default: what has ended
        here.  Returns what was ended.  ArgumentError for more than has ended here.

        The first that failed puts the host out of use.  Loads under way then still end as they
        end, for requests wait for them and run on them.
        """
        done = self.ready() if agreed is None else agreed
        self.end_loads(done)
        self.end_writes(done)
        if self.failure is None:
            self.writes.start_wanted()
            self.retracted.keep_what_is_there()
            if self.writing.before_eviction:
                self.writes.start_victims()
        self.host.frames.turned_to_kv.clear()  # whole pages are written there
        return done

    def end_loads(self, agreed: Ready) -> None:
        """As `poll`, of loads alone, at any point of a step: it takes no memory and begins nothing.

        For who has to know what came of a load before the next poll.
        """
        for n, ticket in enumerate(self.tickets.take(LOAD, agreed.loads)):
            self.loads.finish(ticket, self._error(ticket) if n >= agreed.sound_loads else None)

    def end_writes(self, agreed: Ready) -> None:
        """As `end_loads`, of write-backs: it gives memory back.

        Once the host is out of use they are dropped: nobody will look at the copies.
        """
        for n, ticket in enumerate(self.tickets.take(WRITE, agreed.writes)):
            error = self._error(ticket) if n >= agreed.sound_writes else None
            self.writes.finish(ticket, error or self.failure)
        if self.failure is None:
            self.retracted.keep_what_is_there()

    def _error(self, ticket: Ticket) -> str:
        """Why this one failed, here or on another rank; from now on there is only the device."""
        error = ticket.error or "a transfer of another rank failed"
        if self.failure is None:
            self.failure = error
            self.writes.clear()
            self.retracted.drop_all()
            self.on_failure(error)
        return error

    # -- the whole ----------------------------------------------------------------------

    def reset(self) -> None:
        """Drop everything in both tiers, once all transfers have ended; what they bring is dropped.

        LockError, and no change, while a request is running.
        """
        if any(row >= 0 for row in self.device.refs.rows):
            self.device.reset()  # raises
        self.drain()
        self.device.reset()
        self.host.reset()
        self.copies.clear()
        self.writes.reset()

    def drain(self) -> None:
        """Wait for all transfers and drop what they bring; nothing is wanted or kept any more.

        Blocks: for a reset and for the end.
        """
        self.tickets.transfers.wait()
        self.tickets.collect()
        for ticket in self.tickets.take_all(LOAD):
            self.loads.finish(ticket, DROPPED)
        for ticket in self.tickets.take_all(WRITE):
            self.writes.finish(ticket, DROPPED)
        self.writes.clear()
        self.loads.drop_all()
        self.retracted.drop_all()

    def check(self, level: int) -> None:
        """InvariantError if an invariant of a tier or a ticket does not hold.  Read only."""
        self.device.check(level)
        self.host.check(level)
        wrong = violations(self, level) if level >= 1 else []
        if wrong:
            parts = [*wrong, str(self.stats()), self.device.tree.render(), self.host.tree.render()]
            raise InvariantError("\n".join(parts))

    def stats(self) -> dict[str, int]:
        """Sizes and totals of the host, flat; all names begin with `host_`."""
        found = self.host.stats()
        host = {f"host_{name}": found[name] for name in found if name in OF_BOTH}
        mine = {f"host_{name}": count for name, count in vars(self.counters).items()}
        now = {
            "host_writes_wanted": len(self.writes),
            "host_writes_under_way": len(self.tickets.under_way[WRITE]),
            "host_write_bytes_under_way": self.tickets.nbytes[WRITE],
            "host_loads_under_way": len(self.tickets.under_way[LOAD]),
            "host_load_bytes_under_way": self.tickets.nbytes[LOAD],
            "host_holds": len(self.loads.holds),
            "host_retracted": len(self.retracted),
            "host_out_of_use": int(self.failure is not None),
        }
        return host | mine | now


def _require_same_shapes(device: Geometry, host: Geometry) -> None:
    same = device.with_budget(host.num_frames * host.frame_bytes)
    if same != host:
        raise ConfigError(
            f"a host arena of {host.frame_bytes} bytes a frame and {host.page_bytes} a page for a "
            f"device arena of {device.frame_bytes} and {device.page_bytes}; make it with "
            "`with_budget` of the device's geometry"
        )
