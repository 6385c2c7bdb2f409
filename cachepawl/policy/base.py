"""What a policy is: it names the next thing to evict, and changes nothing of the cache."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cachepawl.tree import Freed, Node, RadixTree
from cachepawl.types import Key

Kind = Literal["kv", "state", "window"]
Facts = tuple[int, ...]
"""What a policy makes of tokens, in its own terms."""


class Victim(NamedTuple):
    """One thing to evict: a leaf with all it holds ("kv"), a state, or a window."""

    node: Node
    kind: Kind


class EvictionPolicy:
    """Chooses what to evict next.

    A cache tells its policy what happens, in the order in which it happens; a policy that has
    no use for that need not listen.  A policy that listens belongs to one cache.  It decides
    from what it is told and from the tree alone: the same calls, the same victims.
    """

    name: str
    """For miss reasons and reports."""
    learns = False
    """Whether it wants to hear of requests as they begin."""

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        """The next to go, or None if everything that the policy may name is locked.

        `kind`: what lacks; None is bytes of whatever kind.  Does not modify the tree.  What
        it names can be evicted as it is.
        """
        raise NotImplementedError

    def reason(self, tree: RadixTree, victim: Victim) -> str:
        """Why a victim that it just named goes before its rivals, for people.  Read only."""
        return ""

    def beside(self) -> EvictionPolicy:
        """A policy of the same kind for another tier of the same cache.

        Both may share what requests teach, of which only this one is told.
        """
        raise NotImplementedError

    # What it is told

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        """From now on it serves the cache with this empty tree; what things take, in bytes."""

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        """The request in a row asks for a prompt; it came at a time in milliseconds.

        Times are the same in every process that decides alike.  Returns what the policy
        recalled of the key's tokens; given that, a copy of it needs no tokens and does the same.
        """
        return ()

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        """KV of the request in a row was published down to a node's end, maybe with a state."""

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        """What a node has was copied from one of the tier beside; requests used neither for that.

        `source` may lie deeper.  Called again where the source may have become worth more since.
        """

    def ended(self, tree: RadixTree, row: int) -> None:
        """The request in a row is gone."""

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        """Something is about to be evicted, whoever named it."""

    def unlocked(self, tree: RadixTree, node: Node) -> None:
        """A lock on a node was released; others may be left."""

    def violations(self, tree: RadixTree) -> list[str]:
        """What is wrong with its own tables, for checks.  Read only; may cost their size."""
        return []

    def emptied(self, tree: RadixTree) -> None:
        """Everything has left the tree."""


def evict(tree: RadixTree, victim: Victim, by: str = "") -> Freed:
    """Carry out a choice of the policy named; the caller frees what is returned."""
    if victim.kind == "kv":
        return tree.evict_kv(victim.node, by)
    if victim.kind == "state":
        return tree.evict_state(victim.node, by)
    return tree.evict_window(victim.node, by)
