"""A queue by score in steps, so that every move is O(1) and small changes move nothing.

A *rank* is a score's place on a scale of 16 steps an octave; 0 is for a score of 0.  Of
equal ranks the one that has held it longest comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp
from typing import Generic, TypeVar

from cachepawl.policy.joint.ring import Link, Ring

T = TypeVar("T", bound=Link)
STEPS = 16
LEAST, MOST = -63, 64
"""Exponents of two that are told apart."""
LOWEST, HIGHEST = 2.0 ** (LEAST - 1), 2.0**MOST
"""Scores that are told apart."""
TWICE = 2 * STEPS
NO_RANK = (MOST - LEAST + 1) * STEPS + 1
"""Above every rank."""


def rank_of(score: float) -> int:
    """The rank of a score, at least 0; within a sixteenth of an octave."""
    if not LOWEST <= score < HIGHEST:
        return 0 if score <= 0 else 1 if score < LOWEST else NO_RANK - 1
    mantissa, exponent = frexp(score)
    return (exponent - LEAST) * STEPS + int(mantissa * TWICE) - STEPS + 1


class Queue(Generic[T]):
    """Things by rank, lowest first."""

    def __init__(self) -> None:
        self._ranks: dict[int, Ring[T]] = {}
        self._used = 0
        """A bit for every rank that something has."""
        self._least = NO_RANK
        """The lowest of them."""

    def add(self, thing: T, rank: int) -> None:
        """The last of its rank.  It stands in no queue."""
        held = self._ranks.get(rank)
        if held is None:
            held = self._ranks[rank] = Ring()
        if held.empty:
            self._used |= 1 << rank
            if rank < self._least:
                self._least = rank
        held.join(thing)

    def remove(self, thing: T, rank: int) -> None:
        """It has that rank here."""
        held = self._ranks[rank]
        held.leave(thing)
        if held.empty:
            self._used = used = self._used & ~(1 << rank)
            if rank == self._least:
                self._least = (used & -used).bit_length() - 1 if used else NO_RANK

    def least(self) -> int:
        """The rank of what comes first; NO_RANK if there is nothing."""
        return self._least

    def first(self) -> T:
        """What comes first.  O(1).  KeyError if there is nothing."""
        return self._ranks[self._least].first()

    def __iter__(self) -> Iterator[T]:
        """All, in order."""
        for rank in sorted(self._ranks):
            yield from self._ranks[rank]
