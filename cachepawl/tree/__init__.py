"""Radix tree over token ids: KV pages and SSM states, two LRU lists, lock receipts.

Torch-free and thread-free: one scheduler thread owns a tree.
"""

from cachepawl.tree.locks import Lock
from cachepawl.tree.node import Node
from cachepawl.tree.radix_tree import RadixTree
from cachepawl.tree.results import Freed, InsertResult, Locked, Match

__all__ = ["Freed", "InsertResult", "Lock", "Locked", "Match", "Node", "RadixTree"]
