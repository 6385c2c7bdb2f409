"""What a policy is: it names the next thing to evict, and changes nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from cachepawl.tree import Freed, Node, RadixTree


class Victim(NamedTuple):
    """One thing to evict: a leaf with all it holds ("kv"), or one state ("state")."""

    node: Node
    kind: Literal["kv", "state"]


class EvictionPolicy(Protocol):
    """Chooses what to evict next."""

    def victim(self, tree: RadixTree) -> Victim | None:
        """The next to go, or None if everything that the policy may name is locked.

        Does not modify the tree.  What it names can be evicted as it is.
        """


def evict(tree: RadixTree, victim: Victim) -> Freed:
    """Carry out a choice; the caller frees what is returned."""
    if victim.kind == "kv":
        return tree.evict_kv(victim.node)
    return tree.evict_state(victim.node)
