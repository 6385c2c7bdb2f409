"""The latest spells, in the order in which they began: what is learned from.

Each spell is told of every step that its age enters, so whoever holds something for it can
look at it again.  Spells begin in order of time, so they enter each step in that order too:
one place in the log for each step is all there is to remember.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from cachepawl.policy.joint.ages import LEVEL_OF_STEP, STEP_EDGES, STEPS, step_of
from cachepawl.policy.joint.survival import Table

Owner = TypeVar("Owner")
MOST_SPELLS = 1 << 16
"""Spells remembered."""
OPEN, ENDED, CENSORED = 1, 2, 3
"""How a spell is: it goes on, it ended with a use, nobody will know."""
NONE = -1
"""The number of no spell."""


class Spell(NamedTuple):
    """One that is remembered."""

    table: Table
    level: int
    """Reached so far, or in which it ended."""
    ended: bool
    age: int
    """Milliseconds, at its end if it ended."""


class Spells(Generic[Owner]):
    """At most `most` spells.  Numbers count all spells that ever began."""

    def __init__(self, most: int = MOST_SPELLS) -> None:
        self.most = most
        self.first = 0
        """Number of the oldest spell that is remembered."""
        self.count = 0
        """Spells that ever began."""
        self._ages = array("q", bytes(8 * most))
        self._starts = array("q", bytes(8 * most))
        self._steps = bytearray(most)
        """The step that each has reached, or in which it ended."""
        self._states = bytearray(most)
        self._tables: list[Table | None] = [None] * most
        self._owners: list[Owner | None] = [None] * most
        self._first_own = 0
        """Number of the first spell of this run; those before it are over."""
        self._entering = [0] * STEPS
        """For each step the number of the first spell that may still enter it."""

    def begin(self, table: Table, owner: Owner, now: int) -> int:
        """A spell of a class begins; returns its number.  O(1).

        `now` is milliseconds and never less than before.
        """
        number = self._add(table, now)
        self._owners[number % self.most] = owner
        return number

    def add_old(self, table: Table, age: int, ended: bool) -> None:
        """A spell of an earlier run, before any of this one: it has no owner and is over."""
        self._add_over(table, 0, age, ended)
        self._first_own = self.count

    def add_use(self, table: Table, age: int, now: int) -> None:
        """A use at an age that ends nobody's spell: learned as a spell of its own.  O(1)."""
        self._add_over(table, now, age, True)

    def end(self, number: int, now: int) -> None:
        """The spell ends with a use.  Nothing for one that is forgotten or over."""
        if number < self.first:
            return
        at = number % self.most
        table = self._tables[at]
        if table is None or self._states[at] != OPEN:
            return
        self._ages[at] = age = now - self._starts[at]
        step = step_of(age)
        level = LEVEL_OF_STEP[step]
        table.there[LEVEL_OF_STEP[self._steps[at]]] -= 1
        table.there[level] += 1
        table.ended[level] += 1
        table.note()
        self._steps[at] = step
        self._states[at] = ENDED
        self._owners[at] = None

    def disown(self, number: int) -> None:
        """Nobody waits for the spell any more; it goes on, and may never end."""
        if number >= self.first:
            self._owners[number % self.most] = None

    def void(self, number: int) -> None:
        """Nothing is to be learned from a spell, for nobody saw whether it ended."""
        if number < self.first or self._states[number % self.most] != OPEN:
            return
        at = number % self.most
        self._withdraw(at)
        self._states[at] = CENSORED
        self._tables[at] = self._owners[at] = None

    def advance(self, now: int, most: int) -> list[tuple[Owner, int]]:
        """Owners of spells that entered a step since, and the step; looks at `most` at most.

        The rest follows at the next calls, older steps last.  Cost: what it looks at.
        """
        out: list[tuple[Owner, int]] = []
        size, count, starts = self.most, self.count, self._starts
        oldest = max(self.first, self._first_own)
        if oldest == count:
            return out
        states, steps = self._states, self._steps
        tables, owners = self._tables, self._owners
        for step in range(1, STEPS):
            edge = now - STEP_EDGES[step]
            if starts[oldest % size] > edge:
                break  # nothing is as old, and older steps are later still
            level = LEVEL_OF_STEP[step]
            number = max(self._entering[step], oldest)
            while number < count and most and starts[at := number % size] <= edge:
                number += 1
                most -= 1
                if states[at] == OPEN:
                    table, owner = tables[at], owners[at]
                    assert table is not None
                    before = LEVEL_OF_STEP[steps[at]]
                    if level != before:
                        table.there[before] -= 1
                        table.there[level] += 1
                        table.note()
                    steps[at] = step
                    if owner is not None:
                        out.append((owner, step))
            self._entering[step] = number
        return out

    def copy(self) -> Spells[Owner]:
        """For another thread to read, which sees to it that nothing changes.  Memory copies."""
        other: Spells[Owner] = Spells.__new__(Spells)
        other.most, other.first, other.count = self.most, self.first, self.count
        other._ages, other._starts = self._ages[:], self._starts[:]
        other._steps, other._states = self._steps[:], self._states[:]
        other._tables, other._owners = self._tables[:], []
        return other

    def remembered(self, now: int) -> Iterator[Spell]:
        """All of them, oldest first."""
        for number in range(self.first, self.count):
            at = number % self.most
            table, state = self._tables[at], self._states[at]
            if table is not None:
                age = now - self._starts[at] if state == OPEN else self._ages[at]
                yield Spell(table, LEVEL_OF_STEP[self._steps[at]], state == ENDED, age)

    def _add_over(self, table: Table, start: int, age: int, ended: bool) -> None:
        """One that is over; `start`, which is as late as any, is only its place in the order."""
        at = self._add(table, start) % self.most
        step = step_of(age)
        level = LEVEL_OF_STEP[step]
        table.there[0] -= 1
        table.there[level] += 1
        table.ended[level] += ended
        self._steps[at] = step
        self._ages[at] = age
        self._states[at] = ENDED if ended else CENSORED

    def _add(self, table: Table, start: int) -> int:
        if self.count - self.first == self.most:
            self._forget()
        number, at = self.count, self.count % self.most
        self.count += 1
        self._starts[at] = start
        self._steps[at] = 0
        self._states[at] = OPEN
        self._tables[at] = table
        table.there[0] += 1
        table.note()
        return number

    def _forget(self) -> None:
        """The oldest spell leaves the tables."""
        at = self.first % self.most
        self.first += 1
        if self._tables[at] is not None:
            self._withdraw(at)
        self._tables[at] = self._owners[at] = None

    def _withdraw(self, at: int) -> None:
        table, level = self._tables[at], LEVEL_OF_STEP[self._steps[at]]
        assert table is not None
        table.there[level] -= 1
        table.ended[level] -= self._states[at] == ENDED
        table.note()
