"""What the host tier asks of whoever copies bytes between the tiers.  No torch."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

from cachepawl.types import Runs


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


class Transfers(Protocol):
    """Copies asynchronously.  Both ends of an order stay as they are until its outcome."""

    def start(self, order: Order) -> None:
        """Submit; TransferError if that cannot be done, and then nothing was copied.

        What the device was told to compute before this call is in the bytes that are copied.
        """

    def finished(self) -> list[Outcome]:
        """What has ended since the last call, each once, in order of submission a direction.

        Never blocks.
        """

    def wait(self) -> None:
        """Block until all that was started has ended; `finished` then tells of it."""
