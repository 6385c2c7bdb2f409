"""Conversations for a server with a host tier: more than its device holds, in a fixed order.

A conversation begins with a text that all have in common and one of its own; each further turn is
the last prompt, its answer, and a text of its own.  Answers are those that the first server gave:
the others are asked exactly the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

VOCABULARY = range(5, 260)


class Sizes(NamedTuple):
    """Of a load; tokens but for the first two."""

    conversations: int
    turns: int
    common: int
    first: int
    """Of a first prompt, without what is common."""
    more: int
    """Of each further turn, without the answer before it."""
    answer: int

    @property
    def longest(self) -> int:
        """The longest prompt with its answer."""
        return self.common + self.first + (self.turns - 1) * (self.more + self.answer) + self.answer


@dataclass
class Script:
    """Who speaks when, and what has been said."""

    sizes: Sizes
    order: list[int]
    """A conversation's number for each request."""
    said: list[list[int]] = field(default_factory=list)
    """Answers, once the first server has given them."""

    def prompts(self) -> Prompts:
        """The requests once more from the beginning."""
        return Prompts(self)


class Prompts:
    """The prompts of a script, one after the other."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._texts: dict[int, list[int]] = {}
        self._turn = 0
        self.others = 0
        """Answers that were not the first server's."""

    def next(self) -> list[int] | None:
        """The next prompt; None when all have been asked."""
        script = self._script
        if self._turn == len(script.order):
            return None
        who, sizes = script.order[self._turn], script.sizes
        if who in self._texts:
            self._texts[who] += words(f"turn {self._turn}", sizes.more)
        else:
            own = words(f"conversation {who}", sizes.first)
            self._texts[who] = words("common", sizes.common) + own
        return list(self._texts[who])

    def answered(self, ids: list[int]) -> None:
        """What the server said to the latest prompt."""
        script = self._script
        if self._turn == len(script.said):
            script.said.append(ids)
        self.others += script.said[self._turn] != ids
        self._texts[script.order[self._turn]] += script.said[self._turn]
        self._turn += 1


def words(seed: str, count: int) -> list[int]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def in_turn(sizes: Sizes) -> Script:
    """Everybody's first turn, then everybody's second: all others come before one comes back."""
    return Script(sizes, list(range(sizes.conversations)) * sizes.turns)


def in_bursts(sizes: Sizes) -> Script:
    """Mostly one of three that have just spoken, else anybody: some are still on the device."""
    draw, left = random.Random(7), [sizes.turns] * sizes.conversations
    order: list[int] = []
    while any(left):
        recent = [who for who in dict.fromkeys(order[:-7:-1]) if left[who]][:3]
        anybody = [who for who, turns in enumerate(left) if turns]
        who = draw.choice(recent if recent and draw.random() < 0.5 else anybody)
        left[who] -= 1
        order.append(who)
    return Script(sizes, order)


ORDERS = {"in turn": in_turn, "in bursts": in_bursts}
