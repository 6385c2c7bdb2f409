"""A queue by score in steps, so that every move is O(1) and small changes move nothing.

A *rank* is a score's place on a scale of 16 steps an octave; 0 is for a score of 0.  Of
equal ranks the one that has held it longest comes first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import ldexp, ulp
from typing import Any, Generic, TypeVar

from cachepawl.policy.joint.ring import Link, Ring

LEAST, MOST = -64, 64
"""Exponents of two between which scores are told apart."""
ALONG = [ldexp(part, octave - 4) for octave in range(LEAST, MOST) for part in range(16, 32)]
BORDERS = (ulp(0.0), *ALONG[1:])
"""The least score of every rank from 1 on; rank 1 has whatever is above 0."""
RANKS = 1 + len(BORDERS)


def rank_of(score: float) -> int:
    """The rank of a score, at least 0; within a sixteenth of an octave."""
    return bisect_right(BORDERS, score)


class Ranked(Link):
    """What can stand in one queue."""

    __slots__ = ("rank",)

    rank: Rank[Any] | None
    """Where it stands; None while it is in no queue."""


T = TypeVar("T", bound=Ranked)


class Rank(Ring[T]):
    """What has one rank in one queue."""

    __slots__ = ("number", "queue")

    def __init__(self, queue: Queue[T], number: int) -> None:
        super().__init__()
        self.queue = queue
        self.number = number


class Queue(Generic[T]):
    """Things by rank, lowest first."""

    def __init__(self) -> None:
        self._ranks: list[Rank[T] | None] = [None] * RANKS
        """By number, those that something had so far."""
        self._used = 0
        """A bit for every rank that something has, and for some that nothing has any more."""
        self._lowest: Rank[T] | None = None
        """The first of them."""

    def put(self, thing: T, score: float) -> None:
        """It stands here, by that score.  If its rank changes it leaves the old and is the last."""
        number = bisect_right(BORDERS, score)
        rank = self._ranks[number]
        if rank is None:
            rank = self._ranks[number] = Rank(self, number)
        before = thing.rank
        if before is rank:
            return
        if before is not None:
            older, newer = thing.older, thing.newer
            older.newer, newer.older = newer, older
        last = rank.older
        if last is rank:
            self._used |= 1 << number
            if self._lowest is None or number < self._lowest.number:
                self._lowest = rank
        thing.rank = rank
        thing.older, thing.newer = last, rank
        last.newer = rank.older = thing

    def lowest(self) -> Rank[T] | None:
        """The first rank that something has; None if there is nothing."""
        rank = self._lowest
        while rank is not None and rank.newer is rank:
            self._used = used = self._used & ~(1 << rank.number)
            self._lowest = rank = self._ranks[(used & -used).bit_length() - 1] if used else None
        return rank

    def __iter__(self) -> Iterator[T]:
        """All, in order."""
        for rank in self._ranks:
            if rank is not None:
                yield from rank


def withdraw(thing: Ranked) -> None:
    """It stands in no queue any more, if it did."""
    if thing.rank is not None:
        thing.rank = None
        Ring.leave(thing)
