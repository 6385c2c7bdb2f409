"""Transfers under way: numbered, per direction, ended in the order in which they began."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cachepawl.errors import ArgumentError, TransferError
from cachepawl.offload.transfers import FAILURES, Copy, Direction, Order, Transfers, describe
from cachepawl.policy.base import Victim
from cachepawl.tree import Lock, Node
from cachepawl.types import Key

WRITE, LOAD = Direction.WRITE_BACK, Direction.LOAD_BACK


class Ready(NamedTuple):
    """How many of the oldest transfers each way have ended, up to the first that failed.

    That one is the last that is counted, and `sound` leaves it out.  So ranks agree by the least
    of each, element by element: on one that failed only where it is the last of all of them.
    """

    writes: int = 0
    loads: int = 0
    sound_writes: int = 0
    sound_loads: int = 0

    @classmethod
    def sound(cls, writes: int = 0, loads: int = 0) -> Ready:
        """So many, and none has failed."""
        return cls(writes, loads, writes, loads)

    @property
    def healthy(self) -> bool:
        """Whether none of them has failed."""
        return self.writes == self.sound_writes and self.loads == self.sound_loads


class Source(NamedTuple):
    """Where the bytes come from, kept until the end."""

    node: Node
    receipt: Lock


class Target(NamedTuple):
    """Where they go: a row of the destination's cache, which nobody can match."""

    row: int
    start: int
    """Tokens that the destination has already."""
    receipt: Lock
    """Of the path to `start`."""
    slot: int | None


@dataclass(eq=False, slots=True)
class Ticket:
    """One transfer.  It owns what it writes, and locks what it reads."""

    number: int
    direction: Direction
    copy: Copy
    nbytes: int
    key: Key
    """Of the prefix that ends at `depth`."""
    depth: int
    source: Source
    target: Target
    ended: bool = False
    """Nothing reads or writes either end any more."""
    error: str | None = None
    victim: Victim | None = None
    """What the device gives up when the copy is there."""
    stamp: int = 0
    """Last use of the victim when it was chosen."""
    covers: list[Node] = field(default_factory=list)
    """Of a write-back: the device's nodes that it has something of; see `under_way`."""
    claims: list[str] = field(default_factory=list)
    """Requests that wait for it."""
    rider: str | None = None
    """The request that runs on it already: the target row is the request's."""


class Tickets:
    """All transfers under way, oldest first in either direction."""

    def __init__(self, transfers: Transfers) -> None:
        self.transfers = transfers
        self.under_way: dict[Direction, deque[Ticket]] = {WRITE: deque(), LOAD: deque()}
        self.nbytes = {WRITE: 0, LOAD: 0}
        """Bytes under way."""
        self._open: dict[int, Ticket] = {}
        self._next = 0
        self.started = 0
        """All that were ever submitted."""

    def number(self) -> int:
        """A number for a ticket to be."""
        self._next += 1
        return self._next

    def start(self, ticket: Ticket) -> None:
        """Submit.  What cannot be submitted has ended, with an error, and waits for its turn.

        So it is where memory for the copy is refused, or the driver refuses it: see `FAILURES`.
        """
        self.started += 1
        self.under_way[ticket.direction].append(ticket)
        self.nbytes[ticket.direction] += ticket.nbytes
        self._open[ticket.number] = ticket
        try:
            self.transfers.start(Order(ticket.number, ticket.direction, ticket.copy))
        except TransferError as error:
            self._end(ticket.number, str(error))
        except FAILURES as error:
            self._end(ticket.number, describe(error))

    def collect(self) -> None:
        """Take note of what has ended.  Never blocks."""
        for outcome in self.transfers.finished():
            self._end(outcome.ticket, outcome.error)

    def _end(self, number: int, error: str | None) -> None:
        ticket = self._open.pop(number, None)
        assert ticket is not None, f"ticket {number} ends twice, or never began"
        ticket.ended, ticket.error = True, error

    def ready(self) -> Ready:
        """What can be finished now: an older one that is still under way holds back the rest.

        So does one that failed, until it is finished.
        """
        (writes, sound_writes), (loads, sound_loads) = self._ready(WRITE), self._ready(LOAD)
        return Ready(writes, loads, sound_writes, sound_loads)

    def _ready(self, direction: Direction) -> tuple[int, int]:
        count = 0
        for ticket in self.under_way[direction]:
            if not ticket.ended:
                break
            count += 1
            if ticket.error is not None:
                return count, count - 1
        return count, count

    def take(self, direction: Direction, count: int) -> list[Ticket]:
        """The oldest ones, all ended; the caller finishes them.  ArgumentError if they have not."""
        queue = self.under_way[direction]
        for i in range(count):
            if i >= len(queue) or not queue[i].ended:
                raise ArgumentError(
                    f"{count} {direction.name} tickets agreed upon, {i} have ended here; agree "
                    f"on the least of what `ready` says on each rank"
                )
        taken = [queue.popleft() for _ in range(count)]
        self.nbytes[direction] -= sum(ticket.nbytes for ticket in taken)
        return taken

    def take_all(self, direction: Direction) -> list[Ticket]:
        """All of them, behind `Transfers.wait`."""
        return self.take(direction, len(self.under_way[direction]))

    def __len__(self) -> int:
        return sum(map(len, self.under_way.values()))

    def __iter__(self) -> Iterator[Ticket]:
        for queue in self.under_way.values():
            yield from queue
