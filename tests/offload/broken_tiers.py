"""Tiers with one mistake each: stories and random runs must not end well with them."""

from __future__ import annotations

from typing import Any

from cachepawl.offload.copies import Copies
from cachepawl.offload.load_backs import Load, LoadBacks
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Direction
from cachepawl.offload.under_way import UnderWay


class AcksEarly(HostTier):
    """Takes what was begun for what has ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        tickets = self.tickets
        start = tickets.start

        def started(ticket: Any) -> None:
            start(ticket)
            ticket.ended = True

        tickets.start = started  # type: ignore[method-assign]
        tickets._end = lambda number, error: None  # type: ignore[method-assign, assignment]


class SourceNotKept(HostTier):
    """Reads what may be evicted meanwhile."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.writes._lock = lambda node: self.device.lock(self.device.tree.root)  # type: ignore[method-assign]


class NotHeldStill(HostTier):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        frames = self.device.frames
        frames.hold_still = frames.let_go = lambda runs: None  # type: ignore[method-assign]


class PublishesFailures(HostTier):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        loads = self.loads
        loads.finish = lambda ticket, error: LoadBacks.finish(loads, ticket, None)  # type: ignore[method-assign]


class StatesComeOnce(HostTier):
    """A node whose KV is on the host is taken for complete."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        host = self.host.tree
        copies = self.copies

        def complete(node: Any) -> bool:
            key = copies._device.path_key(node)
            return host.peek(key).kv_len == node.end or Copies.complete(copies, node)

        copies.complete = complete  # type: ignore[method-assign]


class ForgetsTheLimit(HostTier):
    def match(self, key: Any, limit: int | None = None) -> Any:
        found = super().match(key, limit)
        more = super().match(key, None)
        return more._replace(device=found.device) if more.host_node else found


class RetractsTheParent(HostTier):
    """Computes what to copy before the live state is there."""

    def retract(self, request: str, node: Any) -> None:
        super().retract(request, node.parent)


class DropsRetracted(HostTier):
    def poll(self, agreed: Any = None) -> Any:
        done = super().poll(agreed)
        self.retracted.drop_all()
        return done


class AbortFreesAtOnce(HostTier):
    """Gives back the pages of an aborted load while it goes on."""

    def settle(self, request: str) -> None:
        for ticket in list(self.tickets.under_way[Direction.LOAD_BACK]):
            if ticket.claims == [request]:
                self.tickets.under_way[Direction.LOAD_BACK].remove(ticket)
                self.loads.finish(ticket, "aborted")
                self.tickets.nbytes[Direction.LOAD_BACK] -= ticket.nbytes
                return
        super().settle(request)


class LoadsTwice(HostTier):
    def load(self, request: str, key: Any, found: Any) -> Load:
        self.loads._under_way = {}
        return super().load(request, key, found)


class WritesTheEdgeAlone(HostTier):
    """Copies a node's own KV and leaves what lies above it to whoever wrote that."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        ticket = self.writes._ticket

        def alone(node: Any, key: Any, there: Any, *rest: Any) -> Any:
            return ticket(node, key, there._replace(kv_len=max(there.kv_len, node.start)), *rest)

        self.writes._ticket = alone  # type: ignore[method-assign]


class TakesTheHostForTheDevice(HostTier):
    """A hit of the host counts as one of the device, before anything is loaded."""

    def match(self, key: Any, limit: int | None = None) -> Any:
        found = super().match(key, limit)
        return found._replace(device=found.device._replace(usable_len=found.usable_len))


class LoadsWhatIsThere(HostTier):
    """Brings the whole prefix, whatever the device still has of it."""

    def load(self, request: str, key: Any, found: Any) -> Load:
        nothing = found.device._replace(
            kv_len=0, usable_len=0, node=self.device.tree.root, deepest=self.device.tree.root
        )
        return super().load(request, key, found._replace(device=nothing))


class KvIsEnough(HostTier):
    """Takes the KV of a deeper prompt for a hit, where no state is."""

    def match(self, key: Any, limit: int | None = None) -> Any:
        found = super().match(key, limit)
        there = self.host.match(key, limit)
        if there.kv_len <= found.usable_len:
            return found
        return found._replace(usable_len=there.kv_len, host_node=there.deepest)


class ForgetsWhatIsUnderWay(HostTier):
    """Begins to write what is being written."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.writes.under_way = SeesNothing(self.device.tree)


class SeesNothing(UnderWay):
    """Nothing is under way while it is blind."""

    blind = True

    def __contains__(self, node: Any) -> bool:
        return not self.blind and super().__contains__(node)


class BacksUpTwice(HostTier):
    """Who has to make room at once is written beside a copy of the same."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seen = self.writes.under_way = SeesNothing(self.device.tree)
        self._seen.blind = False

    def back_up(self, request: str, node: Any) -> bool:
        self._seen.blind = True
        begun = super().back_up(request, node)
        self._seen.blind = False
        return begun


class KeepsBothStates(HostTier):
    """Does not give back the slot of a state that the tree has by now."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.device.free_states = lambda slots: None  # type: ignore[method-assign]


class FlushesAtOnce(HostTier):
    """Does not wait for what is under way."""

    def drain(self) -> None:
        self.writes.clear()
        self.loads.drop_all()


class FlushesTheDeviceAlone(HostTier):
    """What comes late is cached on the host."""

    def reset(self) -> None:
        self.tickets.transfers.wait()
        self.poll()
        self.tickets.transfers.wait()
        self.poll()
        self.loads.drop_all()
        self.device.reset()
