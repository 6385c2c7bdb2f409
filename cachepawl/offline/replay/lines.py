"""Lines beside the policies: how many tokens could be hit at all.

A bound is a function over the whole trace; it may read it as often as it likes.  Another
one is another entry of `BOUNDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source
from cachepawl.types import TOKEN_BYTES


class Line(NamedTuple):
    """What a bound found for one budget."""

    name: str
    budget: int
    hit: int
    """Tokens."""


BoundFunction = Callable[[Source, Sequence[Scenario]], list[int]]
"""Tokens hit for each scenario; they differ in nothing but the budget.  Picklable."""


def endless_memory(source: Source, scenarios: Sequence[Scenario]) -> list[int]:
    """All KV, and a state at every depth where one can be taken, for ever.

    No cache with these pages and this grid hits more.  Memory grows with the trace: one
    integer for every such prefix.
    """
    step = scenarios[0].grid if scenarios[0].way.slots else scenarios[0].page
    size = step * TOKEN_BYTES
    known: set[int] = set()
    hit = 0
    for request in source.requests():
        tokens, prefix = request.key.tokens, hash(request.key.namespace)
        prefixes = []
        for at in range(0, len(tokens) - size + 1, size):
            prefix = hash((prefix, tokens[at : at + size]))
            prefixes.append(prefix)
        for prefix in prefixes[: (len(tokens) - TOKEN_BYTES) // size]:
            if prefix not in known:
                break
            hit += step
        known.update(prefixes)
    return [hit] * len(scenarios)


BOUNDS: dict[str, BoundFunction] = {"endless memory": endless_memory}
"""By the name that people read."""


def bound_lines(name: str, source: Source, scenarios: Sequence[Scenario]) -> list[Line]:
    """One bound at every budget."""
    hits = BOUNDS[name](source, scenarios)
    return [Line(name, s.budget, hit) for s, hit in zip(scenarios, hits, strict=True)]
