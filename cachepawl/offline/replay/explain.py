"""What one request of a trace hit, what it missed, and which decisions had evicted that.

The trace is replayed up to that request.  A witness stands between cache and policy and keeps
the latest decisions, so that a miss finds the one that caused it: by when it was, how deep,
and with which first page the prompt began.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.document import Document, Report, Table
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures, Seen
from cachepawl.offline.replay.scenario import GIB, Scenario
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy, Facts, Kind, Victim
from cachepawl.tree import Miss, Node, RadixTree
from cachepawl.types import TOKEN_BYTES, Key

MOST_DECISIONS = 1 << 16
"""Remembered; what was evicted earlier is told without its reason."""


class Decision(NamedTuple):
    """One eviction."""

    kind: Kind
    end: int
    """Depth of the node, tokens."""
    request: int
    """For which request room was made; the first is 1."""
    at: float
    """When that one came, seconds."""
    why: str


class Witness(EvictionPolicy):
    """The same policy, and what it decided."""

    def __init__(self, policy: EvictionPolicy) -> None:
        self.policy = policy
        self.name = policy.name
        self.learns = policy.learns
        self.request, self.at = 0, 0.0
        self.clock = 0
        """The tree's, when the latest request was matched."""
        self._decisions: OrderedDict[int, list[tuple[bytes, Decision]]] = OrderedDict()
        """By the tree's clock, then with the first page of their paths."""

    def find(self, stamp: int, first: bytes, upto: int) -> Decision | None:
        """The eviction at a time that took what led to a depth behind a first page."""
        for hook, decision in self._decisions.get(stamp, ()):
            if hook == first and decision.end >= upto:
                return decision
        return None

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        top = victim.node
        while top.parent is not None and top.parent.parent is not None:
            top = top.parent
        why = self.policy.reason(tree, victim)
        decision = Decision(victim.kind, victim.node.end, self.request, self.at, why)
        self._decisions.setdefault(tree.clock, []).append((top.hook, decision))
        if len(self._decisions) > MOST_DECISIONS:
            self._decisions.popitem(last=False)
        self.policy.leaving(tree, victim)

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        return self.policy.victim(tree, kind)

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        self.policy.serve(tree, token_bytes, state_bytes)

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        self.clock = tree.clock
        return self.policy.began(tree, row, key, at, recalled)

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        self.policy.published(tree, row, node)

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        self.policy.copied(tree, node, source)

    def beside(self) -> EvictionPolicy:
        return self.policy.beside()

    def ended(self, tree: RadixTree, row: int) -> None:
        self.policy.ended(tree, row)

    def unlocked(self, tree: RadixTree, node: Node) -> None:
        self.policy.unlocked(tree, node)

    def violations(self, tree: RadixTree) -> list[str]:
        return self.policy.violations(tree)

    def emptied(self, tree: RadixTree) -> None:
        self._decisions.clear()
        self.policy.emptied(tree)


class _Latest(Measures):
    """Keeps the latest request too."""

    seen: Seen | None = None

    def add(self, seen: Seen, cache: Any) -> None:
        super().add(seen, cache)
        self.seen = seen


class Explained(NamedTuple):
    """One request under one scenario; tokens."""

    scenario: Scenario
    request: TraceRequest
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
        raise InputError(f"--explain {number}: the trace has {witness.request} requests")
    if measures.seen is None:
        raise InputError(f"--explain {number}: this request does not fit the empty cache")
    first = request.key.namespace + request.key.tokens[: scenario.page * TOKEN_BYTES]
    misses = [(miss, _cause(witness, miss, first)) for miss in measures.seen.missed]
    return Explained(scenario, request, measures.seen.prompt, measures.seen.usable, misses)


def _cause(witness: Witness, miss: Miss, first: bytes) -> Decision | None:
    if miss.age is None:
        return None
    return witness.find(witness.clock - miss.age, first, miss.upto)


def explain_report(found: Sequence[Explained], number: int) -> Report:
    """One table for all scenarios."""
    columns = ("policy", "GiB", "tokens", "what became of them", "upto", "evicted", "why then")
    rows: list[list[str | int | float | None]] = []
    for one in found:
        head: list[str | int | float | None] = [one.scenario.policy, one.scenario.budget / GIB]
        rows.append([*head, one.usable, "hit", one.usable, "", ""])
        for miss, cause in one.misses:
            when = "" if cause is None else f"for request {cause.request}, at {cause.at:.1f} s"
            why = "" if cause is None else cause.why
            rows.append([*head, miss.tokens, str(miss), miss.upto, when, why])
    first = found[0]
    lead = f"Request {number}, at {first.request.at:.1f} s: {first.prompt:,} prompt tokens."
    data = {"request": number, "at": first.request.at, "prompt_tokens": first.prompt,
            "scenarios": [_data(one) for one in found]}  # fmt: skip
    return Report(data, Document("cachepawl replay --explain", lead, [Table(columns, rows)]))


def _data(one: Explained) -> dict[str, Any]:
    return {
        "policy": one.scenario.policy,
        "device_bytes": one.scenario.budget,
        "hit_tokens": one.usable,
        "missed": [
            {"reason": miss.reason.value, "tokens": miss.tokens, "upto": miss.upto,
             "age": miss.age, "by": miss.by,
             "decision": None if cause is None else cause._asdict()}
            for miss, cause in one.misses
        ],
    }  # fmt: skip
