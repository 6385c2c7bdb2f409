"""Radix tree over token ids: KV pages, windows and states, recency lists, lock receipts.

Torch-free and thread-free: one scheduler thread owns a tree.
"""

from cachepawl.tree.locks import Lock
from cachepawl.tree.misses import Miss, Reason
from cachepawl.tree.node import Node
from cachepawl.tree.radix_tree import RadixTree
from cachepawl.tree.results import Freed, InsertResult, Locked, Match
from cachepawl.tree.windows import WindowPart

__all__ = [
    "Freed",
    "InsertResult",
    "Lock",
    "Locked",
    "Match",
    "Miss",
    "Node",
    "RadixTree",
    "Reason",
    "WindowPart",
]
