"""Where a request begins whose prefix is still being loaded: stands in for a node of the tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachepawl.offload.tickets import Ticket


class Boarding:
    """A place on one load, for the request that was matched with it.

    SGLang carries it as it carries a node.  It needs no lock: the load owns what it brings and
    locks what lies before that.  Gone with the step, unless the request takes its row in it.
    """

    def __init__(self, ticket: Ticket, board: Callable[[Any], None]) -> None:
        self._ticket = ticket
        self.board = board
        """The request has its row: it runs on the load."""

    @property
    def row(self) -> int:
        """Whose pages begin with the prefix."""
        return self._ticket.target.row

    @property
    def start(self) -> int:
        """Tokens that the tree has already."""
        return self._ticket.target.start

    @property
    def end(self) -> int:
        """Tokens of the prefix."""
        return self._ticket.depth

    @property
    def state(self) -> int | None:
        """The slot that the state at the end is loaded into."""
        return self._ticket.target.slot
