"""The latest spells, in the order in which they began: what is learned from.

Each spell is told of every step that its age enters, so whoever holds something for it can
look at it again.  Spells begin in order of time, so they enter each step in that order too:
one place in the log for each step is all there is to remember.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from cachepawl.policy.joint.ages import LEVEL_OF_STEP, STEP_EDGES, STEPS, step_of
from cachepawl.policy.joint.survival import Table

Owner = TypeVar("Owner")
MOST_SPELLS = 1 << 16
"""Spells remembered."""
ENDED, CENSORED = 32, 64
"""Added to the step in which a spell was over: it ended with a use, or nobody will know."""
STEP = ENDED - 1
"""The bits of a step."""
LATER_STEPS = tuple(enumerate(STEP_EDGES))[1:]
"""Steps that are entered, and after how many milliseconds."""
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
        self._stages = bytearray(most)
        """The step that each has reached, or in which it was over, and then how."""
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
        reached, table = self._stages[at], self._tables[at]
        if reached > STEP or table is None:
            return
        self._ages[at] = age = now - self._starts[at]
        step = step_of(age)
        level = LEVEL_OF_STEP[step]
        table.there[LEVEL_OF_STEP[reached]] -= 1
        table.there[level] += 1
        table.ended[level] += 1
        table.note()
        self._stages[at] = step + ENDED
        self._owners[at] = None

    def disown(self, number: int) -> None:
        """Nobody waits for the spell any more; it goes on, and may never end."""
        if number >= self.first:
            self._owners[number % self.most] = None

    def void(self, number: int) -> None:
        """Nothing is to be learned from a spell, for nobody saw whether it ended."""
        at = number % self.most
        if number < self.first or self._stages[at] > STEP:
            return
        self._withdraw(at)
        self._stages[at] = CENSORED
        self._tables[at] = self._owners[at] = None

    def advance(self, now: int, most: int) -> list[tuple[Owner, int]]:
        """Owners of spells that entered a step since, and the step; looks at `most` at most.

        The rest follows at the next calls, older steps last.  Cost: what it looks at.
        """
        out: list[tuple[Owner, int]] = []
        size, count, starts, entering = self.most, self.count, self._starts, self._entering
        oldest = self.first if self.first > self._first_own else self._first_own
        if oldest == count:
            return out
        first = starts[oldest % size]
        for step, wait in LATER_STEPS:
            edge = now - wait
            if first > edge or not most:
                break  # nothing is as old, and older steps are later still
            number = entering[step]
            if number < oldest:
                number = oldest
            while number < count and starts[at := number % size] <= edge:
                run = count - number
                if run > most:
                    run = most
                stop = at + run if at + run < size else size
                end = bisect_right(starts, edge, at, stop)
                self._enter(step, at, end, out)
                number += end - at
                most -= end - at
                entering[step] = number
                if end < size:
                    break
        return out

    def _enter(self, step: int, at: int, end: int, out: list[tuple[Owner, int]]) -> None:
        """Those in places `[at, end)` enter a step.

        Of them those that go on are all in the step before: what could enter that one has.
        """
        stages, tables, owners = self._stages, self._tables, self._owners
        before, level = step - 1, LEVEL_OF_STEP[step]
        next_level = level != LEVEL_OF_STEP[before]
        for place in range(at, end):
            if stages[place] == before:
                stages[place] = step
                if next_level:
                    table = tables[place]
                    assert table is not None
                    table.went_on(level)
                owner = owners[place]
                if owner is not None:
                    out.append((owner, step))

    def copy(self) -> Spells[Owner]:
        """For another thread to read, which sees to it that nothing changes.  Memory copies."""
        other: Spells[Owner] = Spells.__new__(Spells)
        other.most, other.first, other.count = self.most, self.first, self.count
        other._ages, other._starts = self._ages[:], self._starts[:]
        other._stages, other._tables = self._stages[:], self._tables[:]
        other._owners = []
        return other

    def remembered(self, now: int) -> Iterator[Spell]:
        """All of them, oldest first."""
        for number in range(self.first, self.count):
            at = number % self.most
            table, stage = self._tables[at], self._stages[at]
            if table is not None:
                age = self._ages[at] if stage > STEP else now - self._starts[at]
                yield Spell(table, LEVEL_OF_STEP[stage & STEP], bool(stage & ENDED), age)

    def _add_over(self, table: Table, start: int, age: int, ended: bool) -> None:
        """One that is over; `start`, which is as late as any, is only its place in the order."""
        at = self._add(table, start) % self.most
        step = step_of(age)
        level = LEVEL_OF_STEP[step]
        table.there[0] -= 1
        table.there[level] += 1
        table.ended[level] += ended
        self._ages[at] = age
        self._stages[at] = step + (ENDED if ended else CENSORED)

    def _add(self, table: Table, start: int) -> int:
        if self.count - self.first == self.most:
            self._forget()
        number, at = self.count, self.count % self.most
        self.count += 1
        self._starts[at] = start
        self._stages[at] = 0
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
        table, stage = self._tables[at], self._stages[at]
        assert table is not None
        level = LEVEL_OF_STEP[stage & STEP]
        table.there[level] -= 1
        table.ended[level] -= bool(stage & ENDED)
        table.note()
