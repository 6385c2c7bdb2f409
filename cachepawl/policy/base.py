"""What a policy is: it names the next thing to evict, and changes nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from cachepawl.tree import Freed, Node, RadixTree


class Victim(NamedTuple):
    """One thing to evict: a leaf with all it holds ("kv"), a state, or a window."""

    node: Node
    kind: Literal["kv", "state", "window"]


class EvictionPolicy(Protocol):
    """Chooses what to evict next."""

    name: str
    """For miss reasons and reports."""

    def victim(self, tree: RadixTree) -> Victim | None:
        """The next to go, or None if everything that the policy may name is locked.

        Does not modify the tree.  What it names can be evicted as it is.
        """


def evict(tree: RadixTree, victim: Victim, by: str = "") -> Freed:
    """Carry out a choice of the policy named; the caller frees what is returned."""
    if victim.kind == "kv":
        return tree.evict_kv(victim.node, by)
    if victim.kind == "state":
        return tree.evict_state(victim.node, by)
    return tree.evict_window(victim.node, by)
