"""What the host tier asks of whoever copies bytes between the tiers.  No torch."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

from cachepawl.types import Runs

FAILURES = (RuntimeError, OSError, MemoryError)
"""What a device, its driver or an allocation may raise; TransferError and torch's own errors are
among them.  Such a failure costs the host tier, never the server.  Anything else is a mistake
in this program, and is not caught.
"""


class Direction(Enum):
    """Which way the bytes go."""

    WRITE_BACK = auto()
    """Device to host."""
    LOAD_BACK = auto()
    """Host to device."""


class Copy(NamedTuple):
    """Pages and states of one arena, and where they go in the other, in the same order."""

    pages_from: Runs
    pages_to: Runs
    states_from: tuple[int, ...]
    states_to: tuple[int, ...]


class Order(NamedTuple):
    """One transfer; `ticket` names it in its outcome."""

    ticket: int
    direction: Direction
    copy: Copy


class Outcome(NamedTuple):
    """A transfer has ended: nothing of it reads its source or writes its destination any more."""

    ticket: int
    error: str | None
    """None: every byte has arrived.  Otherwise why not; the destination's bytes are undefined."""


def describe(error: BaseException) -> str:
    """An error in an outcome's words, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class Transfers(Protocol):
    """Copies asynchronously.  Both ends of an order stay as they are until its outcome."""

    def start(self, order: Order) -> None:
        """Submit; one of `FAILURES`, TransferError first of all, if that cannot be done.

        Then nothing is under way, and what the destination has is undefined.

        What the device was told to compute before this call is in the bytes that are copied.
        """

    def finished(self) -> list[Outcome]:
        """What has ended since the last call, each once, in order of submission a direction.

        Never blocks.
        """

    def wait(self) -> None:
        """Block until all that was started has ended; `finished` then tells of it."""
