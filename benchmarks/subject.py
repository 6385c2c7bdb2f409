"""What the tree rows need of an implementation.

A verb returns a `Timed`: a call with its arguments made, and the clean-up.  Only the
call is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from benchmarks.clock import Timed
from benchmarks.workload import Batch, Tokens


class Hit(NamedTuple):
    """What a match said; tokens."""

    usable: int
    """KV with a state at its end: where a request may start."""
    kv: int
    """KV alone, wherever it ends."""
    node: Any


class Sizes(NamedTuple):
    """What is cached: tokens of KV, states."""

    tokens: int
    states: int


class Room(NamedTuple):
    """What the pools have to hold, nothing ever being evicted for want of room."""

    tokens: int
    states: int


def ignore(_: Any) -> None:
    """There is nothing to clean up."""


class Subject(Protocol):
    """One implementation with one tree."""

    name: str

    def fill(self, batch: Batch) -> None:
        """Publish sequences, each with a state at its end, as requests that run together."""

    def match(self, tokens: Tokens, seen: Callable[[Hit], None]) -> Timed:
        """Look a prompt up; `seen` is told the answer after the clock stopped."""

    def lock(self, node: Any, seen: Callable[[Any], None]) -> Timed:
        """Lock a path; `seen` is given the receipt."""

    def unlock(self, node: Any, receipt: Any) -> Timed:
        """Spend a receipt."""

    def lock_and_unlock(self, node: Any) -> Timed:
        """Both, as one."""

    def insert(self, tokens: Tokens) -> Timed:
        """Publish a sequence with a state, for a request that computed all that a match
        of it, less its last token, does not give."""

    def evict_state(self) -> Timed:
        """Evict one state."""

    def evict_leaf(self) -> Timed:
        """Evict one leaf."""

    def sizes(self) -> Sizes:
        """What is cached now."""


def look_up(subject: Subject, tokens: Tokens) -> Hit:
    """Match, without timing it."""
    seen: list[Hit] = []
    timed = subject.match(tokens, seen.append)
    timed.finish(timed.call())
    return seen[0]


def run(timed: Timed) -> None:
    """Do it, without timing it."""
    timed.finish(timed.call())
