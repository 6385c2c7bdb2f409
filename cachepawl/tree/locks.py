"""The receipt of a lock."""

from __future__ import annotations

from cachepawl.tree.node import Node


class Lock:
    """One-shot receipt: keeps a path's KV and the state of its last node from eviction.

    Made by `RadixTree.lock`, spent by `RadixTree.unlock`.  It stays valid when
    edges on the path are split and when a state appears on its node.
    """

    __slots__ = ("node", "owner")

    node: Node
    """The node that was locked."""
    owner: Node | None
    """Root of the tree that made the receipt; None once spent."""

    def __init__(self, node: Node, owner: Node) -> None:
        self.node = node
        self.owner = owner

    def __repr__(self) -> str:
        return f"<Lock {'spent' if self.owner is None else 'open'} on {self.node!r}>"
