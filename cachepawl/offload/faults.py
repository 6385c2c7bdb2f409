"""Transfers that go wrong on purpose, by script or by chance.  For tests.  No torch.

write:0:fail        the first write-back ends with an error; nothing was copied
load:3:late:20      the outcome of the fourth load comes 20 polls after it was due
load:*:spoil        every load is copied and then ends with an error
write:1:refuse      the second write-back cannot be submitted
load:2:memory       the copy that begins next once the third load was started has no memory
write:2:no-start    there is no memory to start the third write-back
load:0:die          the process is killed between the first load's copy and its outcome
random:7:10         seed 7: one order in ten is refused, fails, is spoilt or late
"""

from __future__ import annotations

import os
import random
import signal
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from cachepawl.errors import ConfigError, TransferError
from cachepawl.offload.transfers import Direction, Order, Outcome, Transfers

NAMES = {"write": Direction.WRITE_BACK, "load": Direction.LOAD_BACK}
INJECTED = "injected by the fault script"


class Action(Enum):
    """What happens to one order."""

    REFUSE = "refuse"
    FAIL = "fail"
    SPOIL = "spoil"
    LATE = "late"
    MEMORY = "memory"
    NO_START = "no-start"
    DIE = "die"


class Fault(NamedTuple):
    """An action; the outcome, if there is one, comes `polls` polls after it was due."""

    action: Action
    polls: int = 0


Script = Callable[[Direction, int], Fault | None]
"""The fault of a direction's n-th order, counted from 0."""


def parse_script(text: str) -> Script:
    """The script of comma-separated words as at the top; ConfigError names a wrong one."""
    if text.startswith("random:"):
        return _random_script(text)
    listed: dict[tuple[Direction, int | None], Fault] = {}
    for word in text.split(","):
        direction, number, fault = _parse_fault(word)
        listed[direction, number] = fault
    return lambda direction, number: (
        listed.get((direction, number)) or listed.get((direction, None))
    )


def _parse_fault(word: str) -> tuple[Direction, int | None, Fault]:
    parts = word.split(":")
    try:
        direction, action = NAMES[parts[0]], Action(parts[2])
        number = None if parts[1] == "*" else int(parts[1])
        polls = int(parts[3]) if action is Action.LATE else 0
        if len(parts) != (4 if action is Action.LATE else 3):
            raise ValueError(word)
    except (KeyError, IndexError, ValueError):
        raise ConfigError(
            f"fault {word!r}: give write or load, the order's number or *, and refuse, fail, "
            f"spoil, memory, no-start, die or late:POLLS, as in load:3:late:20"
        ) from None
    return direction, number, Fault(action, polls)


def _random_script(text: str) -> Script:
    try:
        _, seed, percent = text.split(":")
        chosen = random.Random(int(seed))
        share = int(percent) / 100
    except ValueError:
        raise ConfigError(f"faults {text!r}: give random:SEED:PERCENT") from None
    kinds = [Action.REFUSE, Action.FAIL, Action.SPOIL, Action.LATE]

    def script(direction: Direction, number: int) -> Fault | None:
        if chosen.random() >= share:
            return None
        return Fault(chosen.choice(kinds), chosen.randrange(1, 20))

    return script


def kill_this_process() -> None:
    """As the kernel would: no handler runs, nothing is written."""
    os.kill(os.getpid(), signal.SIGKILL)


class Memory(Protocol):
    """What copies are made with, when it runs out."""

    def run_out(self, direction: Direction) -> None:
        """The next copy of that direction raises for want of memory."""

    def error(self) -> Exception:
        """What an allocation raises."""


class _Pending:
    """An order that was accepted and whose outcome has not been told."""

    def __init__(self, ticket: int, fault: Fault | None) -> None:
        self.ticket = ticket
        self.fault = fault
        self.polls_left = fault.polls if fault else 0
        self.outcome: Outcome | None = None


class FaultyTransfers:
    """`Transfers` around others, with the script's faults.

    Outcomes of a direction stay in order; which direction is told of first changes from call
    to call.
    """

    def __init__(
        self,
        inner: Transfers,
        script: Script,
        memory: Memory,
        *,
        die: Callable[[], None] = kill_this_process,
    ) -> None:
        """`memory`: of the copiers that `inner` copies with (`faulty_copiers.Shortage`)."""
        self._memory = memory
        self._inner = inner
        self._script = script
        self._die = die
        self._numbers = dict.fromkeys(Direction, 0)
        self._pending: dict[Direction, deque[_Pending]] = {d: deque() for d in Direction}
        self._accepted: dict[int, _Pending] = {}

    def start(self, order: Order) -> None:
        number = self._numbers[order.direction]
        self._numbers[order.direction] += 1
        fault = self._script(order.direction, number)
        action = fault.action if fault else None
        if action is Action.REFUSE:
            raise TransferError(f"ticket {order.ticket}: refused, {INJECTED}")
        if action is Action.NO_START:
            raise self._memory.error()
        if action is Action.MEMORY:
            self._memory.run_out(order.direction)
        pending = _Pending(order.ticket, fault)
        if action is Action.FAIL:
            pending.outcome = Outcome(order.ticket, f"failed, {INJECTED}")
        else:
            self._inner.start(order)
            self._accepted[order.ticket] = pending
        self._pending[order.direction].append(pending)

    def finished(self) -> list[Outcome]:
        for outcome in self._inner.finished():
            self._end(self._accepted.pop(outcome.ticket), outcome)
        first, second = self._pending
        self._pending = {second: self._pending[second], first: self._pending[first]}
        return [outcome for queue in self._pending.values() for outcome in self._due(queue)]

    def wait(self) -> None:
        """Outcomes that were to come late come with the next `finished`."""
        self._inner.wait()
        for queue in self._pending.values():
            for pending in queue:
                pending.polls_left = 0

    def _end(self, pending: _Pending, outcome: Outcome) -> None:
        action = pending.fault.action if pending.fault else None
        if action is Action.DIE:
            self._die()
        if action is Action.SPOIL:
            outcome = Outcome(outcome.ticket, f"failed after the copy, {INJECTED}")
        pending.outcome = outcome

    def _due(self, queue: deque[_Pending]) -> list[Outcome]:
        told: list[Outcome] = []
        while queue and queue[0].outcome is not None:
            if queue[0].polls_left > 0:
                queue[0].polls_left -= 1
                break
            told.append(queue[0].outcome)
            queue.popleft()
        return told
