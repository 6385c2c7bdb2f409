"""A witness between a cache and its policy, who remembers what was evicted for whom and why.

A miss finds the decision that caused it by when it was, how deep, and with which first page the
prompt began.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

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
    """Which request had come last, mostly the one that room was made for; the first is 1."""
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
        """The tree's, when the latest request began."""
        self._decisions: OrderedDict[int, list[tuple[bytes, Decision]]] = OrderedDict()
        """By the tree's clock, then with the first page of their paths."""

    def cause(self, miss: Miss, key: Key, page: int, clock: int) -> Decision | None:
        """The eviction that a miss is due to; `clock` is the tree's when it was explained.

        None for a miss that is not about an eviction, and for one of too long ago.
        """
        if miss.age is None:
            return None
        first = key.namespace + key.tokens[: page * TOKEN_BYTES]
        for hook, decision in self._decisions.get(clock - miss.age, ()):
            if hook == first and decision.end >= miss.upto:
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
