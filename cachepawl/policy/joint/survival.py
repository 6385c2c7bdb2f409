"""How soon things of a class are used again, learned from spells.

A *spell* is the time from one use of something to the next.  Of each class a life table says
for every level of age how many spells reached it and how many ended in it.  A spell that is
still open says half of the level that it is in.  Classes with few spells lean on coarser ones.
"""

from __future__ import annotations

from collections import deque

from cachepawl.policy.joint.ages import LEVELS, WIDTHS

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

Counts = list[list[int]]
"""The counts by level of a class and of all that are coarser, finest first."""


class Table:
    """Counts of one class and what follows from them.

    Counts are exact at every moment, in this class and in the coarser ones.  What follows from
    them is worked out table by table, as `Classes.work` gets round to it.
    """

    __slots__ = (
        "_due", "_limit", "_news", "all_ended", "all_reached", "ended",
        "hazard", "index", "key", "parent", "reached", "used",
    )  # fmt: skip

    def __init__(self, key: tuple[int, ...], parent: Table | None, due: deque[Table]) -> None:
        self.key = key
        self.parent = parent
        self.reached = [0] * (LEVELS + 1)
        """Spells that reached each level; one 0 more at the end."""
        self.ended = [0] * LEVELS
        """Spells that ended in each level."""
        self.hazard: list[float] = [PRIOR] * LEVELS if parent is None else parent.hazard
        """For each level the chance that a spell that reaches it ends in it."""
        self.index: list[float] = index_of(self.hazard) if parent is None else parent.index
        """For each level the uses a second that holding on pays, at best, from there on.

        Expected uses over expected seconds until a use or until one gives up, for the best
        moment to give up: the Gittins index of a spell of that age (J. C. Gittins, Bandit
        processes and dynamic allocation indices, 1979).  As worked out last.
        """
        self.used: Table | None = None
        """Of what is in this class and is used once more, where known."""
        self.all_reached: Counts = [self.reached, *(parent.all_reached if parent else ())]
        self.all_ended: Counts = [self.ended, *(parent.all_ended if parent else ())]
        self._due = due
        self._news = 0
        """Counts that changed since it was worked out, as far as it was told."""
        self._limit = 1
        """So many are worth the work."""

    def note(self, counts: Counts, level: int, by: int = 1) -> None:
        """More spells of the class are among `all_reached` or `all_ended`, at a level.

        Only for a class that no other leans on.
        """
        most, more, less, least = counts
        most[level] += by
        more[level] += by
        less[level] += by
        least[level] += by
        self._news += 1
        if self._news == self._limit:
            self._due.append(self)

    def forget_news(self) -> None:
        """All that is known was worked out."""
        self._news = 0

    def work_out(self) -> None:
        """Follow the counts, and tell the coarser class how many changed.  O(levels)."""
        parent = self.parent
        if parent is None:
            before, weight = [PRIOR] * LEVELS, PRIOR_WEIGHT
        else:
            before, weight = parent.hazard, COARSER_WEIGHT
            told = parent._news
            parent._news = told + self._news
            if told < parent._limit <= parent._news:
                self._due.append(parent)
        self._news = 0
        self._limit = self.reached[0] // STALE or 1
        self.hazard = hazard_of(self.reached, self.ended, before, weight)
        self.index = index_of(self.hazard)


def hazard_of(
    reached: list[int], ended: list[int], before: list[float], weight: float
) -> list[float]:
    """Chances level by level; those that are in a level now count half for it."""
    out = []
    for here, on, over, chance in zip(  # noqa: B905  reached has one more
        reached, reached[1:], ended, before
    ):
        # Exposed are half of: reached - (reached - ended - went on) / 2
        found = (over + weight * chance) / ((here + over + on) / 2 + weight)
        out.append(found if found < MOST else MOST)
    return out


def index_of(hazard: list[float]) -> list[float]:
    """The best ratio of uses to time from each level's beginning on.

    From the last level back: a level that is a worse bargain than the stretch behind it takes
    that stretch along, so stretches get worse from each to the next.  O(levels).
    """
    index = [0.0] * len(hazard)
    stretches: list[tuple[float, float, float]] = []
    more = longer = left = 0.0
    """Uses and seconds of the stretch behind, and the chance to outlive it."""
    for level in range(len(hazard) - 1, -1, -1):
        uses = hazard[level]
        alive = 1 - uses
        time = (1 - uses / 2) * WIDTHS[level]
        while more * time > uses * longer:
            uses, time, alive = uses + alive * more, time + alive * longer, alive * left
            more, longer, left = stretches.pop()
        index[level] = uses / time
        stretches.append((more, longer, left))
        more, longer, left = uses, time, alive
    return index
