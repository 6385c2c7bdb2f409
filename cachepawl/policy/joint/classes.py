"""What is alike is learned from together: features of a site to its life table."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from cachepawl.policy.joint.survival import BETWEEN, Table

END, BRANCH, ANSWER = 0, 1, 2
"""Kinds of sites: a prompt ended here, prompts parted here, an answer ended here."""
MOST_USES = 3
GAPS = (5, 20, 60, 150, 400)
"""Seconds since the turn before: borders of classes."""
DEPTHS = (2048, 8192, 32768)
"""Tokens: borders of classes."""
BORDERS = (
    ("uses", MOST_USES),
    ("kind", ANSWER),
    ("turn", 3),
    ("depth", len(DEPTHS)),
    ("gap", 1 + len(GAPS)),
)
"""The parts of a key, and the largest value of each."""
USED = {4: "used", 5: "never used"}


class Traits(NamedTuple):
    """What is known of a site when it is made."""

    kind: int
    turn: int
    """Prompts of the conversation before this one, as far as they were seen."""
    gap: int | None
    """Milliseconds since the turn before; None without one."""
    depth: int
    """Tokens."""


class Classes:
    """Life tables by features, made when first asked for."""

    def __init__(self) -> None:
        self._due: deque[Table] = deque()
        """To be worked out again, whoever has waited longest first."""
        self.coarsest = Table((), None, self._due)
        """Of everything."""
        self.tables: dict[tuple[int, ...], Table] = {(): self.coarsest}
        """Coarser ones before those that lean on them."""

    def work(self) -> None:
        """Work out the table that has had news for longest, if any has."""
        if self._due:
            table = self._due.popleft()
            table.tell()
            table.follow()

    def work_all(self) -> None:
        """Work out every table.  Cost: the tables."""
        for table in reversed(self.tables.values()):
            table.tell()
        for table in self.tables.values():
            table.follow()
        self._due.clear()

    def table(self, traits: Traits, uses: int) -> Table:
        """The table of a site with so many uses so far."""
        uses = uses if uses < MOST_USES else MOST_USES
        turn = turn_class(traits.turn)
        depth = place_in(DEPTHS, traits.depth)
        if uses:
            return self.known((uses, traits.kind, turn, depth))
        gap = 0 if traits.gap is None else 1 + place_in(GAPS, traits.gap // 1000)
        return self.known((uses, traits.kind, turn, depth, gap))

    def used(self, table: Table) -> Table:
        """The table of what was in another's class and is used once more."""
        found = table.used
        if found is None:
            uses, *rest = table.key
            key = (min(uses + 1, MOST_USES), *rest[:3])
            table.used = found = self.known(key)
        return found

    def known(self, key: tuple[int, ...]) -> Table:
        """The table of a class: uses, kind, turn, depth and, unless it was used, the gap.

        It leans on that of uses, kind and turn, that one on uses and kind, and that on all.
        """
        table = self.tables.get(key)
        if table is None:
            table = self.coarsest
            for cut in (*BETWEEN, len(key)):
                parent, part = table, key[:cut]
                table = self.tables.get(part)
                if table is None:
                    table = self.tables[part] = Table(part, parent, self._due)
        return table


def not_a_class(key: Sequence[int]) -> str | None:
    """What is wrong with a key: it is none that `Classes.table` gives.  None if nothing is."""
    for (part, most), value in zip(BORDERS, key, strict=False):
        if not 0 <= value <= most:
            return f"its {part} is {value}, not 0 to {most}"
    parts = 4 if key and key[0] else 5
    if len(key) != parts:
        return f"it has {len(key)} integers, not {parts} as what was {USED[parts]}"
    return None


def turn_class(turn: int) -> int:
    """0, 1, 2 to 3, more."""
    return turn if turn < 2 else 2 if turn < 4 else 3


def place_in(borders: tuple[int, ...], value: int) -> int:
    """How many of the borders a value has reached."""
    return bisect_right(borders, value)
