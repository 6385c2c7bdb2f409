"""Least recently used first, over the two lists of the tree."""

from __future__ import annotations

from cachepawl.policy.base import Victim
from cachepawl.tree import RadixTree


class LruKv:
    """KV leaves alone, least recently used first: for a shortage of pages only."""

    def victim(self, tree: RadixTree) -> Victim | None:
        """The tail of the KV list: a leaf, and its state goes with it.  O(1)."""
        node = tree.kv_victim()
        return None if node is None else Victim(node, "kv")


class LruState:
    """States alone, least recently used first: for a shortage of state slots only."""

    def victim(self, tree: RadixTree) -> Victim | None:
        """The tail of the state list, whether inner node or leaf.  O(1)."""
        node = tree.state_victim()
        return None if node is None else Victim(node, "state")


class Lru:
    """One budget for both kinds: the older of the two tails goes.

    Leaves that nothing can use have stamp 0 and so go first of all.  Of tails
    with equal stamps the KV leaf goes: they were used by the same call, and the
    leaf frees both kinds and leaves nothing half usable behind.
    """

    def victim(self, tree: RadixTree) -> Victim | None:
        """The older tail by logical stamp.  O(1)."""
        leaf = tree.kv_victim()
        last = tree.state_victim()
        if leaf is not None and (last is None or leaf.kv_stamp <= last.state_stamp):
            return Victim(leaf, "kv")
        return None if last is None else Victim(last, "state")


LRU = Lru()
LRU_KV = LruKv()
LRU_STATE = LruState()
