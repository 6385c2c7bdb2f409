"""The receipt of a lock."""

from __future__ import annotations

from cachepawl.tree.node import Node


class Lock:
    """One-shot receipt: keeps a path's KV, its live window, and maybe a state from eviction.

    Made by `RadixTree.lock` or `lock_path`, spent by `RadixTree.unlock`.  It stays valid when
    edges on the path are split and when a state appears on its node.
    """

    __slots__ = ("boundary", "keeps_state", "node", "owner")

    node: Node
    """The node that was locked."""
    owner: Node | None
    """Root of the tree that made the receipt; None once spent."""
    keeps_state: bool
    """Whether the node's state is kept as well."""
    boundary: int
    """Token depth where the window had filled: the locked windows are those of the nodes on
    the path that end beyond it.  A depth, so a split cannot move it."""

    def __init__(self, node: Node, owner: Node, *, keeps_state: bool, boundary: int) -> None:
        self.node = node
        self.owner = owner
        self.keeps_state = keeps_state
        self.boundary = boundary

    def __repr__(self) -> str:
        return f"<Lock {'spent' if self.owner is None else 'open'} on {self.node!r}>"
