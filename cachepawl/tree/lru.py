"""The two recency lists: intrusive, circular, every step O(1) or the path.

On a list is exactly what is resident and unlocked.  Links of a locked node are
left as they were and mean nothing, so that a path that lies side by side in the
list leaves it, moves and comes back in one piece.  Stamps of locked nodes go on: they are
the time of the last use of the node or of what is below it, for what comes back unused.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.tree.node import Node, sentinel
from cachepawl.types import Runs

LOOKS = 64
"""Neighbours looked at to find the old place of what comes back unused."""


class KvList:
    """Unlocked nodes, newest first: the warm part, then the cold part.

    Warm nodes are ordered by `kv_stamp`, a parent always newer than its
    children, so the tail of the list is a leaf.  Cold nodes have stamp 0: leaves
    without a state in a tree that needs states; the latest to become cold is the
    last of them to go.
    """

    __slots__ = ("cold", "warm")

    def __init__(self) -> None:
        self.warm = sentinel()
        self.cold = sentinel()

    def oldest(self) -> Node | None:
        """The next to go, or None.  O(1)."""
        node = self.cold.kv_newer
        if node is self.cold:
            node = self.warm.kv_newer
            if node is self.warm:
                return None
        return node

    def put_warm(self, node: Node, stamp: int) -> None:
        """Link an unlinked node as the newest."""
        head = self.warm
        node.kv_stamp = stamp
        node.kv_newer = head
        node.kv_older = older = head.kv_older
        head.kv_older = older.kv_newer = node

    def put_cold(self, node: Node) -> None:
        """Link an unlinked node as the newest of the cold ones."""
        head = self.cold
        node.kv_stamp = 0
        node.kv_newer = head
        node.kv_older = older = head.kv_older
        head.kv_older = older.kv_newer = node

    def put_above(self, node: Node, other: Node) -> None:
        """Link an unlinked node directly newer than `other`, with its stamp."""
        node.kv_stamp = other.kv_stamp
        node.kv_older = other
        node.kv_newer = newer = other.kv_newer
        other.kv_newer = newer.kv_older = node

    @staticmethod
    def remove(node: Node) -> None:
        """Unlink a node from the part it is on.  O(1)."""
        newer, older = node.kv_newer, node.kv_older
        newer.kv_older = older
        older.kv_newer = newer

    def lift_path(self, node: Node, stamp: int) -> None:
        """Make the unlocked nodes from `node` to the root the newest, the root's end first.

        Stops at the first locked node, which is stamped: everything above it is locked as
        well.  Cost: the unlocked part of the path.
        """
        head = self.warm
        parent = node.parent
        while parent is not None and not node.full_lock:
            last = node
            node.kv_stamp = stamp
            newer = node.kv_newer
            # Nodes of the path that already lie side by side move as one.
            while newer is parent:
                node = newer
                node.kv_stamp = stamp
                newer = node.kv_newer
                parent = node.parent
            if newer is not head:
                older = last.kv_older
                newer.kv_older = older
                older.kv_newer = newer
                node.kv_newer = head
                last.kv_older = older = head.kv_older
                older.kv_newer = last
                head.kv_older = node
            assert parent is not None  # the root is on no list
            node = parent
            parent = node.parent
        if node.kv_stamp < stamp:
            node.kv_stamp = stamp

    @staticmethod
    def take_path(node: Node, pages: list[Runs]) -> Node:
        """Unlink the unlocked nodes from `node` towards the root and lock them once.

        Appends their pages, deepest first.  Returns the first node above them: one
        that was locked already, or the root.  Cost: the nodes unlinked.
        """
        parent = node.parent
        while parent is not None and not node.full_lock:
            last = node
            node.full_lock = 1
            pages.append(node.pages)
            newer = node.kv_newer
            while newer is parent:
                node = newer
                node.full_lock = 1
                pages.append(node.pages)
                newer = node.kv_newer
                parent = node.parent
            older = last.kv_older
            newer.kv_older = older
            older.kv_newer = newer
            assert parent is not None  # the root is on no list
            node = parent
            parent = node.parent
        return node

    def put_path(self, node: Node, stamp: int, pages: list[Runs]) -> Node:
        """Undo `take_path`: the nodes locked once become unlocked and the newest.

        Appends their pages, deepest first.  Returns the first node above them: one
        that stays locked, or the root.  Cost: the nodes linked.
        """
        head = self.warm
        last = head.kv_older
        parent = node.parent
        while parent is not None and node.full_lock == 1:
            node.full_lock = 0
            node.kv_stamp = stamp
            pages.append(node.pages)
            node.kv_older = last
            last.kv_newer = node
            last = node
            node = parent
            parent = node.parent
        last.kv_newer = head
        head.kv_older = last
        return node

    def put_path_back(self, node: Node, stamp: int, pages: list[Runs]) -> Node:
        """As `put_path`, to where the nodes would stand had they never left.

        Their places are looked for from the oldest node on.  Where one is not among the
        first `LOOKS`, it and the rest of the path become the newest, with `stamp`.
        """
        head = self.warm
        older, looks, least = head, LOOKS, 0
        parent = node.parent
        while parent is not None and node.full_lock == 1:
            wanted = max(node.kv_stamp, least)
            newer = older.kv_newer
            # Past equals, too: below a node of this stamp may be others with it.
            while newer is not head and newer.kv_stamp <= wanted and looks:
                older, looks = newer, looks - 1
                newer = older.kv_newer
            if not looks or not wanted:
                return self.put_path(node, stamp, pages)
            node.full_lock = 0
            node.kv_stamp = least = wanted
            pages.append(node.pages)
            node.kv_older, node.kv_newer = older, newer
            older.kv_newer = newer.kv_older = older = node
            node = parent
            parent = node.parent
        if node.kv_stamp < least:
            node.kv_stamp = least
        return node

    def __iter__(self) -> Iterator[Node]:
        """Newest first, the cold ones last."""
        for head in (self.warm, self.cold):
            node = head.kv_older
            while node is not head:
                yield node
                node = node.kv_older


class StateList:
    """Nodes whose state is unlocked, newest first by `state_stamp`."""

    __slots__ = ("head",)

    def __init__(self) -> None:
        self.head = sentinel()

    def oldest(self) -> Node | None:
        """The next to go, or None.  O(1)."""
        node = self.head.state_newer
        return None if node is self.head else node

    def put(self, node: Node, stamp: int) -> None:
        """Link an unlinked node as the newest."""
        head = self.head
        node.state_stamp = stamp
        node.state_newer = head
        node.state_older = older = head.state_older
        head.state_older = older.state_newer = node

    def put_back(self, node: Node, stamp: int) -> None:
        """Link an unlinked node by its own stamp; as the newest if that place is far up.

        As `KvList.put_path_back`.
        """
        head = older = self.head
        wanted = node.state_stamp
        newer = older.state_newer
        looks = LOOKS if wanted else 0
        while newer is not head and newer.state_stamp < wanted and looks:
            older, looks = newer, looks - 1
            newer = older.state_newer
        if not looks:
            self.put(node, stamp)
            return
        node.state_older, node.state_newer = older, newer
        older.state_newer = newer.state_older = node

    @staticmethod
    def remove(node: Node) -> None:
        """Unlink a node.  O(1)."""
        newer, older = node.state_newer, node.state_older
        newer.state_older = older
        older.state_newer = newer

    def lift(self, node: Node, stamp: int) -> None:
        """Make a linked node the newest."""
        node.state_stamp = stamp
        newer = node.state_newer
        head = self.head
        if newer is not head:
            older = node.state_older
            newer.state_older = older
            older.state_newer = newer
            node.state_newer = head
            node.state_older = older = head.state_older
            head.state_older = older.state_newer = node

    def __iter__(self) -> Iterator[Node]:
        """Newest first."""
        node = self.head.state_older
        while node is not self.head:
            yield node
            node = node.state_older
