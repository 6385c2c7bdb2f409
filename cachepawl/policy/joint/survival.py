"""How soon things of a class are used again, learned from spells.

A *spell* is the time from one use of something to the next.  Of each class a life table says
for every level of age how many spells reached it and how many ended in it.  A spell that is
still open says half of the level that it is in.  Classes with few spells lean on coarser ones.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from math import sqrt

from cachepawl.policy.joint.ages import HALVED, LAST, LEVELS, WIDTHS

PRIOR = 0.08
"""Chance that a spell ends in a level, as long as nothing is known."""
PRIOR_WEIGHT = 4.0
"""Spells that this belief is worth."""
COARSER_WEIGHT = 8.0
"""Spells that the coarser class's chance is worth."""
MOST = 0.999
"""No chance is higher, so that something always survives."""
STALE = 4
"""A table is worked out again when a part in so many of what it knows is new."""


BETWEEN = 2, 3
"""Parts of the keys of classes between the finest and the coarsest."""


class Table:
    """Counts of one class and what follows from them.

    Spells are counted in the class that they are of, at every moment.  A coarser class hears of
    them when the finer one is worked out, table by table, as `Classes.work` gets round to it.
    """

    __slots__ = (
        "_due", "_limit", "_news", "ended", "hazard", "index", "key", "parent", "rates", "there",
        "told", "used",
    )  # fmt: skip

    def __init__(self, key: tuple[int, ...], parent: Table | None, due: deque[Table]) -> None:
        self.key = key
        self.parent = parent
        self.there = [0] * LEVELS
        """Spells by the level that they are in, or were in when they were over."""
        self.ended = [0] * LEVELS
        """Of those, the ones that ended with a use."""
        self.hazard: list[float] = [PRIOR] * LEVELS if parent is None else self._belief(parent)
        """For each level the chance that a spell that reaches it ends in it."""
        self.index: list[float] = []
        """For each level the uses a second that holding on pays, at best, from there on.

        Expected uses over expected seconds until a use or until one gives up, for the best
        moment to give up: the Gittins index of a spell of that age (J. C. Gittins, Bandit
        processes and dynamic allocation indices, 1979).  As worked out last; nothing in a
        class between the finest and the coarsest, of which nobody asks it.
        """
        self.rates: list[float] = []
        """The same for each step."""
        self._rate()
        self.used: Table | None = None
        """Of what is in this class and is used once more, where known."""
        self.told = [0] * LEVELS, [0] * LEVELS
        """`there` and `ended` as the coarser class knows them."""
        self._due = due
        self._news = 0
        """Counts that changed since it was worked out, as far as it was told."""
        self._limit = 1
        """So many are worth the work."""

    def note(self) -> None:
        """A spell was counted, or counted elsewhere."""
        self._news += 1
        if self._news == self._limit:
            self._due.append(self)

    def went_on(self, level: int) -> None:
        """A spell that is counted in the level before went on to this one."""
        self.there[level - 1] -= 1
        self.there[level] += 1
        self._news += 1
        if self._news == self._limit:
            self._due.append(self)

    def tell(self) -> None:
        """The coarser class counts what is counted here.  O(levels)."""
        parent = self.parent
        if parent is None:
            return
        there, ended = self.told
        if self.there != there:
            _hand_on(self.there, there, parent.there)
        if self.ended != ended:
            _hand_on(self.ended, ended, parent.ended)
        before = parent._news
        parent._news = before + self._news
        if before < parent._limit <= parent._news:
            self._due.append(parent)

    def follow(self) -> None:
        """What follows from the counts as they are now.  O(levels)."""
        if self.parent is None:
            before, weight = [PRIOR] * LEVELS, PRIOR_WEIGHT
        else:
            before, weight = self._belief(self.parent), COARSER_WEIGHT
        self._news = 0
        self._limit = sum(self.there) // STALE or 1
        self.hazard = hazard_of(self.there, self.ended, before, weight)
        self._rate()

    def _rate(self) -> None:
        if len(self.key) not in BETWEEN:
            self.index = index_of(self.hazard)
            self.rates = rates_of(self.index)

    def _belief(self, parent: Table) -> list[float]:
        """What is believed without a spell of this class: what the coarser one knows.

        That one knows everything, and mostly what was never used.  Until told better, what was
        used n times is taken to be n + 1 times as likely to be used as what was not.
        """
        if len(self.key) != 2:
            return parent.hazard
        times = self.key[0] + 1
        return [min(times * chance, MOST) for chance in parent.hazard]


def _hand_on(mine: list[int], known: list[int], theirs: list[int]) -> None:
    """What the coarser class counts, `theirs`, follows from what it knew and from `mine`."""
    theirs[:] = [total + now - was for total, now, was in zip(theirs, mine, known, strict=True)]
    known[:] = mine


def hazard_of(
    there: list[int], ended: list[int], before: list[float], weight: float
) -> list[float]:
    """Chances level by level; those that are in a level now count half for it."""
    out = []
    on = 0
    """Spells that went on to the next level."""
    for over, here, belief in zip(ended[::-1], there[::-1], before[::-1], strict=True):
        reached = on + here
        # Exposed are half of: reached - (reached - ended - went on) / 2
        found = (over + weight * belief) / ((reached + over + on) / 2 + weight)
        out.append(found if found < MOST else MOST)
        on = reached
    return out[::-1]


def index_of(hazard: list[float]) -> list[float]:
    """The best ratio of uses to time from each level's beginning on.

    From the last level back: a level that is a worse bargain than the stretch behind it takes
    that stretch along, so stretches get worse from each to the next.  O(levels).
    """
    index = []
    stretches: list[tuple[float, float, float]] = []
    more = longer = left = 0.0
    """Uses and seconds of the stretch behind, and the chance to outlive it."""
    for uses, width in zip(hazard[::-1], WIDTHS[::-1], strict=True):
        alive = 1 - uses
        time = (1 - uses / 2) * width
        while more * time > uses * longer:
            uses, time, alive = uses + alive * more, time + alive * longer, alive * left
            more, longer, left = stretches.pop()
        index.append(uses / time)
        stretches.append((more, longer, left))
        more, longer, left = uses, time, alive
    return index[::-1]


def rates_of(index: list[float]) -> list[float]:
    """The index of every step: half-way to the next level it is the mean of both, if lower.

    The geometric one, as levels are powers.
    """
    rates = index[:HALVED]
    for here, behind in pairwise(index[HALVED:]):
        rates += here, here if behind > here else sqrt(here * behind)
    rates.append(index[LAST])
    return rates
