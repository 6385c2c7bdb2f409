"""Lines beside the policies: how many tokens could be hit at all.

A line is a function over the whole trace, which it may read as often as it likes.  Another
one is another entry of `BOUNDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from cachepawl.offline.bounds import upper
from cachepawl.offline.bounds.clairvoyant import Clairvoyant
from cachepawl.offline.bounds.runs import Runs, runs_of
from cachepawl.offline.bounds.upper import Bytes
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.types import TOKEN_BYTES


class Line(NamedTuple):
    """What a bound found."""

    name: str
    budget: int | None
    """Bytes; None where they make no difference."""
    hit: int
    """Tokens."""
    checkpoint_dtype: str = "auto"
    """How states are stored there; "auto" also where it makes no difference."""

    @property
    def label(self) -> str:
        """The name, and how states are stored where they are compressed."""
        plain = self.checkpoint_dtype == "auto"
        return self.name if plain else f"{self.name}, {self.checkpoint_dtype}"


class Bound(NamedTuple):
    """A bound; `hits` is a function of a module, so that it can run in another process."""

    hits: Callable[[Source, Scenario], int]
    """Tokens hit at most.  The scenario's policy means nothing to it."""
    by_budget: bool
    """Whether it differs from budget to budget, and with the bytes of states."""


def endless_memory(source: Source, scenario: Scenario) -> int:
    """What nobody with these pages and this grid can pass, however much memory he has."""
    return prefixes_known(source.requests(), scenario)


def prefixes_known(requests: Iterable[TraceRequest], scenario: Scenario) -> int:
    """Tokens hit with all KV, and a state at every depth where one can be taken, for ever.

    No cache with these pages and this grid hits more.  Memory grows with the trace: one
    integer for every such prefix.
    """
    step = scenario.grid if scenario.way.slots else scenario.page
    size = step * TOKEN_BYTES
    known: set[int] = set()
    hit = 0
    for request in requests:
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
    return hit


def upper_bound(source: Source, scenario: Scenario) -> int:
    """What no cache of these bytes can pass, wherever it takes states; by prices of bytes."""
    runs = _runs(source, scenario)
    return upper.upper_bound(runs, _cost(scenario), scenario.budget)


def clairvoyant(source: Source, scenario: Scenario) -> int:
    """What the scenario's own cache hits under a policy that knows the trace."""
    policy = Clairvoyant(_runs(source, scenario), _cost(scenario))
    scenario = replace(scenario, host=0)
    measures = Measures(scenario.spec, scenario.budget)
    engine = Engine(scenario, measures, policy)
    engine.play(policy.watch(source.requests(), engine.cache.tree))
    return measures.total().hit


def _runs(source: Source, scenario: Scenario) -> Runs:
    return runs_of(source.requests(), source.open().block_tokens, scenario.page)


def _cost(scenario: Scenario) -> Bytes:
    return Bytes(scenario.geometry.entry_bytes, scenario.geometry.kept_bytes)


BOUNDS = {
    "clairvoyant": Bound(clairvoyant, by_budget=True),
    "upper bound": Bound(upper_bound, by_budget=True),
    "endless memory": Bound(endless_memory, by_budget=False),
}
"""By the name that people read."""


def line_of(name: str, source: Source, scenario: Scenario) -> Line:
    """One bound at one budget."""
    bound = BOUNDS[name]
    hit = bound.hits(source, scenario)
    if not bound.by_budget:
        return Line(name, None, hit)
    return Line(name, scenario.budget, hit, scenario.checkpoint_dtype)


def wanted_lines(names: list[str], scenarios: list[Scenario]) -> list[tuple[str, Scenario]]:
    """Each bound with a scenario for every arena, or with one where all are the same."""
    arenas = list({(one.checkpoint_dtype, one.budget): one for one in scenarios}.values())
    return [
        (name, scenario)
        for name in names
        for scenario in (arenas if BOUNDS[name].by_budget else arenas[:1])
    ]
