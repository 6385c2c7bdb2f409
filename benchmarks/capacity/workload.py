"""Requests that come faster than they can be served: phases of short and of long contexts.

A request computes its prompt at once and then its answer page by page, one page a step, side
by side with all others that run: the pages of many requests are asked for in turn.  The mix
changes while requests of the phase before still run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

SHORT, LONG = 800, 22_000
"""Tokens of a context, prompt and answer."""
ANSWER = 8
"""One token in so many is of the answer; drawn between half and one and a half of that."""
PHASES = (SHORT, LONG, SHORT, LONG, SHORT)
GENERATIONS = 3
"""A phase issues as many requests as run at once, so many times."""
STATES = 3
"""Slots of a running request: one that it computes in and two that take snapshots."""


class Arrival(NamedTuple):
    """One request, in pages."""

    number: int
    prompt: int
    answer: int

    @property
    def pages(self) -> int:
        return self.prompt + self.answer


def arrivals(page_tokens: int, at_once: dict[int, int], seed: int = 1) -> Iterator[Arrival]:
    """All requests in order; `at_once` is how many of a context run at once."""
    draw = random.Random(seed)
    number = 0
    for context in PHASES:
        for _ in range(max(8, GENERATIONS * at_once[context])):
            answer = int(context / ANSWER * draw.uniform(0.5, 1.5))
            pages = -(-context // page_tokens)
            more = max(1, -(-answer // page_tokens))
            number += 1
            yield Arrival(number, pages - more, more)
