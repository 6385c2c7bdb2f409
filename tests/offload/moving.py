"""Transfers between two memories that are dictionaries, as late and as wrong as a test wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from cachepawl.errors import TransferError
from cachepawl.offload.transfers import Direction, Order, Outcome


class Bytes(Protocol):
    """What pages and slots hold; anything that can be compared."""

    kv: dict[tuple[int, int], Any]
    """By page and offset in it."""
    states: dict[int, Any]


class Simple:
    """A memory."""

    def __init__(self) -> None:
        self.kv: dict[tuple[int, int], Any] = {}
        self.states: dict[int, Any] = {}


class Moving:
    """Nothing ends before it is told to.  `device` is asked for at each copy.

    From `start` on the destination holds garbage.  The source is read in `copy`, which comes
    at the latest with `end`: whoever changes it before shows up as wrong contents.
    """

    def __init__(self, device: Callable[[], Bytes], host: Bytes, page: int) -> None:
        self.device = device
        self.host = host
        self.page = page
        self.under_way: list[Order] = []
        self.copied: set[int] = set()
        self.outcomes: list[Outcome] = []
        self.refuses = 0
        """The next so many orders are refused."""
        self.refusal: type[BaseException] = TransferError
        self.log: list[Order] = []
        self.refused: list[Order] = []
        self.begun: Counter[Direction] = Counter()

    def _memories(self, order: Order) -> tuple[Bytes, Bytes]:
        both = self.device(), self.host
        return both if order.direction is Direction.WRITE_BACK else both[::-1]

    def start(self, order: Order) -> None:
        if self.refuses:
            self.refuses -= 1
            self.refused.append(order)
            raise self.refusal(f"ticket {order.ticket} refused")
        assert order.copy.pages_from.count == order.copy.pages_to.count
        assert len(order.copy.states_from) == len(order.copy.states_to)
        self.under_way.append(order)
        self.log.append(order)
        self.begun[order.direction] += 1
        _, target = self._memories(order)
        for page in order.copy.pages_to:
            for offset in range(self.page):
                target.kv[page, offset] = f"garbage of {order.ticket}"
        for slot in order.copy.states_to:
            target.states[slot] = f"garbage of {order.ticket}"

    def copy(self, index: int) -> None:
        """The bytes move now."""
        order = self.under_way[index]
        if order.ticket in self.copied:
            return
        self.copied.add(order.ticket)
        source, target = self._memories(order)
        for here, there in zip(order.copy.pages_from, order.copy.pages_to, strict=True):
            for offset in range(self.page):
                target.kv[there, offset] = source.kv.get((here, offset), "nothing")
        for mine, other in zip(order.copy.states_from, order.copy.states_to, strict=True):
            target.states[other] = source.states.get(mine, "nothing")

    def end(self, index: int, error: str | None = None) -> None:
        """A transfer ends, in any order."""
        if error is None:
            self.copy(index)
        self.outcomes.append(Outcome(self.under_way.pop(index).ticket, error))

    def finished(self) -> list[Outcome]:
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def wait(self) -> None:
        while self.under_way:
            self.end(0)

    def direction_in(self, reason: str) -> Direction:
        """Of the ticket that a reason is about: `ticket 7 is broken`."""
        number = int(reason.split()[1])
        orders = (*self.log, *self.refused)
        return next(order.direction for order in orders if order.ticket == number)
