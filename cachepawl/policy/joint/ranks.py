"""A queue by score in steps, so that every move is O(1) and small changes move nothing.

A *rank* is a score's place on a scale of 16 steps an octave; 0 is for a score of 0.  Of
equal ranks the one that has held it longest comes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import frexp
from typing import Generic, TypeVar

T = TypeVar("T")
STEPS = 16
LEAST, MOST = -63, 64
"""Exponents of two that are told apart."""


def rank_of(score: float) -> int:
    """The rank of a score, at least 0; within a sixteenth of an octave."""
    if score <= 0:
        return 0
    mantissa, exponent = frexp(score)
    if exponent < LEAST:
        return 1
    return (min(exponent, MOST) - LEAST) * STEPS + int(mantissa * 2 * STEPS) - STEPS + 1


class Queue(Generic[T]):
    """Things by rank, lowest first."""

    def __init__(self) -> None:
        self._ranks: dict[int, OrderedDict[T, None]] = {}
        self._used = 0
        """A bit for every rank that something has."""

    def add(self, thing: T, rank: int) -> None:
        """The last of its rank."""
        held = self._ranks.get(rank)
        if held is None:
            held = self._ranks[rank] = OrderedDict()
        if not held:
            self._used |= 1 << rank
        held[thing] = None

    def remove(self, thing: T, rank: int) -> None:
        """KeyError for what does not have that rank."""
        held = self._ranks[rank]
        del held[thing]
        if not held:
            self._used &= ~(1 << rank)

    def first(self) -> tuple[int, T] | None:
        """The rank and the thing that comes first.  O(1)."""
        used = self._used
        if not used:
            return None
        rank = (used & -used).bit_length() - 1
        return rank, next(iter(self._ranks[rank]))

    def __iter__(self) -> Iterator[T]:
        """All, in order."""
        for rank in sorted(self._ranks):
            yield from self._ranks[rank]
