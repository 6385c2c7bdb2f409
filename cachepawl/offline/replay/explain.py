"""What one request of a trace hit, what it missed, and which decisions had evicted that.

The trace is replayed up to that request, with a witness of the policy's decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.document import Document, Report, Table
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures, Seen
from cachepawl.offline.replay.scenario import GIB, Scenario
from cachepawl.offline.replay.witness import Decision, Witness
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy import POLICIES
from cachepawl.tree import Miss


class _Latest(Measures):
    """Keeps the latest request too."""

    seen: Seen | None = None

    def add(self, seen: Seen, cache: Any) -> None:
        super().add(seen, cache)
        self.seen = seen


class Explained(NamedTuple):
    """One request under one policy on so many bytes; tokens."""

    policy: str
    budget: int
    at: float
    """When it came, seconds."""
    prompt: int
    usable: int
    misses: list[tuple[Miss, Decision | None]]


def explain(scenario: Scenario, requests: Iterable[TraceRequest], number: int) -> Explained:
    """Replay up to the request of a number, from 1.  InputError if it is not there or not run."""
    scenario.check()
    witness = Witness(POLICIES[scenario.policy]())
    measures = _Latest(scenario.spec, scenario.budget)
    engine = Engine(scenario, measures, witness)
    request = None
    for witness.request, request in enumerate(islice(requests, number), 1):
        witness.at, measures.seen = request.at, None
        engine.admit(request)
    if request is None or witness.request < number:
        raise not_there(number, "trace", witness.request)
    seen = measures.seen
    if seen is None:
        raise InputError(f"--explain {number}: this request does not fit the empty cache")
    misses = [
        (miss, witness.cause(miss, request.key, scenario.page, witness.clock))
        for miss in seen.missed
    ]
    return Explained(scenario.policy, scenario.budget, request.at, seen.prompt, seen.usable, misses)


def not_there(number: int, what: str, count: int) -> InputError:
    """A number above those that there are."""
    return InputError(f"--explain {number}: the {what} has {count} requests")


def explain_report(found: Sequence[Explained], number: int) -> Report:
    """One table for all policies and budgets."""
    columns = ("policy", "GiB", "tokens", "what became of them", "upto", "evicted", "why then")
    rows: list[list[str | int | float | None]] = []
    for one in found:
        head: list[str | int | float | None] = [one.policy, round(one.budget / GIB, 4)]
        rows.append([*head, one.usable, "hit", one.usable, "", ""])
        for miss, cause in one.misses:
            when = "" if cause is None else f"for request {cause.request}, at {cause.at:.1f} s"
            why = "" if cause is None else cause.why
            rows.append([*head, miss.tokens, str(miss), miss.upto, when, why])
    first = found[0]
    lead = f"Request {number}, at {first.at:.1f} s: {first.prompt:,} prompt tokens."
    data = {"request": number, "at": first.at, "prompt_tokens": first.prompt,
            "scenarios": [_data(one) for one in found]}  # fmt: skip
    return Report(data, Document("cachepawl replay --explain", lead, [Table(columns, rows)]))


def _data(one: Explained) -> dict[str, Any]:
    return {
        "policy": one.policy,
        "device_bytes": one.budget,
        "hit_tokens": one.usable,
        "missed": [
            {"reason": miss.reason.value, "tokens": miss.tokens, "upto": miss.upto,
             "age": miss.age, "by": miss.by,
             "decision": None if cause is None else cause._asdict()}
            for miss, cause in one.misses
        ],
    }  # fmt: skip
