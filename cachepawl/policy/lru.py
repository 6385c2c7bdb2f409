"""Least recently used first, over the recency lists of the tree."""

from __future__ import annotations

from cachepawl.policy.base import EvictionPolicy, Kind, Victim
from cachepawl.tree import RadixTree


class Lru(EvictionPolicy):
    """One budget for all kinds: the oldest of the tails goes.

    Of one kind alone, the tail of its list: of KV a leaf with all it holds, of states and
    windows an inner node or a leaf.

    Leaves that nothing can use have stamp 0 and so go first of all.  Of tails with equal
    stamps the KV leaf goes: they were used by the same call, and the leaf frees all kinds
    and leaves nothing half usable behind.  Next the state, which only one end needs.
    """

    name = "lru"

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        """The oldest tail by logical stamp.  O(1)."""
        if kind is not None:
            return _tail(tree, kind)
        leaf = tree.kv_victim()
        last = tree.state_victim()
        if tree.windows is not None and (wide := tree.windows.oldest()) is not None:
            stamp = tree.windows.stamp_of(wide)
            if (last is None or stamp < last.state_stamp) and (
                leaf is None or stamp < leaf.kv_stamp
            ):
                return Victim(wide, "window")
        if leaf is not None and (last is None or leaf.kv_stamp <= last.state_stamp):
            return Victim(leaf, "kv")
        return None if last is None else Victim(last, "state")

    def beside(self) -> Lru:
        """It remembers nothing, so one serves all."""
        return self

    def reason(self, tree: RadixTree, victim: Victim) -> str:
        """How long it was not used."""
        return _idle(tree, victim)


def _idle(tree: RadixTree, victim: Victim) -> str:
    node = victim.node
    stamp = node.state_stamp if victim.kind == "state" else node.kv_stamp
    return f"unused for {tree.clock - stamp} uses" if stamp else "nothing could use it"


def _tail(tree: RadixTree, kind: Kind) -> Victim | None:
    if kind == "kv":
        node = tree.kv_victim()
    elif kind == "state":
        node = tree.state_victim()
    else:
        node = tree.window_victim()
    return None if node is None else Victim(node, kind)


LRU = Lru()
