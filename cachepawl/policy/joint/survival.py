"""How soon things of a class are used again, learned from spells.

A *spell* is the time from one use of something to the next.  Of each class a life table says
for every level of age how many spells reached it and how many ended in it.  A spell that is
still open says half of the level that it is in.  Classes with few spells lean on coarser ones.
"""

from __future__ import annotations

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


class Table:
    """Counts of one class and what follows from them."""

    __slots__ = ("_changes", "_hazard", "_index", "ended", "key", "parent", "reached")

    def __init__(self, key: tuple[int, ...], parent: Table | None) -> None:
        self.key = key
        self.parent = parent
        self.reached = [0] * (LEVELS + 1)
        """Spells that reached each level; one 0 more at the end."""
        self.ended = [0] * LEVELS
        """Spells that ended in each level."""
        self._changes = 0
        self._hazard: list[float] = []
        self._index: list[float] = []

    def note_reached(self, level: int, by: int = 1) -> None:
        """Spells of the class reached a level; coarser classes are told."""
        table: Table | None = self
        while table is not None:
            table.reached[level] += by
            table._changes += 1
            table = table.parent

    def note_ended(self, level: int, by: int = 1) -> None:
        """Spells of the class ended in a level; coarser classes are told."""
        table: Table | None = self
        while table is not None:
            table.ended[level] += by
            table._changes += 1
            table = table.parent

    def index(self, level: int) -> float:
        """Uses a second that holding on pays, at best, from a level on.

        Expected uses over expected seconds until a use or until one gives up, for the best
        moment to give up: the Gittins index of a spell of that age (J. C. Gittins, Bandit
        processes and dynamic allocation indices, 1979).
        """
        if not self._index or self._changes * STALE > self.reached[0]:
            self._work_out()
        return self._index[level]

    def hazard(self) -> list[float]:
        """For each level the chance that a spell that reaches it ends in it."""
        if not self._index or self._changes * STALE > self.reached[0]:
            self._work_out()
        return self._hazard

    def outdate(self) -> None:
        """Work everything out anew when next asked."""
        self._index = []

    def _work_out(self) -> None:
        self._changes = 0
        if self.parent is None:
            before, weight = [PRIOR] * LEVELS, PRIOR_WEIGHT
        else:
            before, weight = self.parent.hazard(), COARSER_WEIGHT
        self._hazard = hazard_of(self.reached, self.ended, before, weight)
        self._index = index_of(self._hazard)


def hazard_of(
    reached: list[int], ended: list[int], before: list[float], weight: float
) -> list[float]:
    """Chances level by level; those that are in a level now count half for it."""
    out = []
    for level, chance in enumerate(before):
        # Half of: reached - (reached - ended - went on) / 2
        exposed = (reached[level] + ended[level] + reached[level + 1]) / 2
        out.append(min((ended[level] + weight * chance) / (exposed + weight), MOST))
    return out


def index_of(hazard: list[float]) -> list[float]:
    """The best ratio of uses to time from each level's beginning on.

    From the last level back: a level that is a worse bargain than the stretch behind it takes
    that stretch along, so stretches get worse from each to the next.  O(levels).
    """
    index = [0.0] * len(hazard)
    stretches: list[tuple[float, float, float]] = []
    for level in range(len(hazard) - 1, -1, -1):
        chance = hazard[level]
        uses, time, alive = chance, (1 - chance / 2) * WIDTHS[level], 1 - chance
        while stretches and stretches[-1][0] * time > uses * stretches[-1][1]:
            more, longer, left = stretches.pop()
            uses, time, alive = uses + alive * more, time + alive * longer, alive * left
        index[level] = uses / time
        stretches.append((uses, time, alive))
    return index
