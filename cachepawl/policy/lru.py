"""Least recently used first, over the recency lists of the tree."""

from __future__ import annotations

from cachepawl.policy.base import Victim
from cachepawl.tree import RadixTree


class LruKv:
    """KV leaves alone, least recently used first: for a shortage of pages only."""

    name = "lru"

    def victim(self, tree: RadixTree) -> Victim | None:
        """The tail of the KV list: a leaf, and its state goes with it.  O(1)."""
        node = tree.kv_victim()
        return None if node is None else Victim(node, "kv")


class LruState:
    """States alone, least recently used first: for a shortage of state slots only."""

    name = "lru"

    def victim(self, tree: RadixTree) -> Victim | None:
        """The tail of the state list, whether inner node or leaf.  O(1)."""
        node = tree.state_victim()
        return None if node is None else Victim(node, "state")


class LruWindow:
    """Windows alone, least recently used first: for a shortage of window pages only."""

    name = "lru"

    def victim(self, tree: RadixTree) -> Victim | None:
        """The tail of the window list, whether inner node or leaf.  O(1)."""
        node = tree.window_victim()
        return None if node is None else Victim(node, "window")


class Lru:
    """One budget for all kinds: the oldest of the tails goes.

    Leaves that nothing can use have stamp 0 and so go first of all.  Of tails with equal
    stamps the KV leaf goes: they were used by the same call, and the leaf frees all kinds
    and leaves nothing half usable behind.  Next the state, which only one end needs.
    """

    name = "lru"

    def victim(self, tree: RadixTree) -> Victim | None:
        """The oldest tail by logical stamp.  O(1)."""
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


LRU = Lru()
LRU_KV = LruKv()
LRU_STATE = LruState()
LRU_WINDOW = LruWindow()
