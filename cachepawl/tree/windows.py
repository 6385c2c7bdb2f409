"""Sliding-window KV: which nodes have it, which of it is in use, what goes first.

Sliding-window layers look back `size` tokens, so beside the full KV of a path they need
their own KV of the path's last `size` tokens only.  A node has window pages for its whole
edge or for none of it; without, it is a *window tombstone*.

        root ---- tombstones ----+---- size tokens, unbroken ----+ a depth that may be used
                                 boundary                        depth

A depth may be used when `size` tokens before it are unbroken, or when nothing is broken
back to the root.  A lock keeps the nodes that reach into the window of its depth; it
records where that window began as a depth, which no split can move.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cachepawl.tree.node import Node
from cachepawl.types import Runs


class WindowPart(NamedTuple):
    """A caller's window pages of the tokens from `start` to the end of a key."""

    start: int
    pages: Runs


class Windows:
    """The window KV of one tree.  Counts are tokens, exact, and for callers read-only.

    The recency list is ordered by use; of one use, what is nearer to the root is newer.
    """

    __slots__ = ("_order", "evictable", "page_tokens", "protected", "size")

    size: int
    """Tokens that a window layer looks back."""
    evictable: int
    protected: int

    def __init__(self, size: int, page_tokens: int) -> None:
        self.size = size
        self.page_tokens = page_tokens
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._order: OrderedDict[Node, int] = OrderedDict()
        self.evictable = 0
        self.protected = 0

    # Looking

    def usable(self, node: Node, depth: int, has_states: bool) -> tuple[Node, int]:
        """The deepest depth on the path to `depth` that may be used, and the node it is on.

        `depth` is on the edge of `node`.  With states only ends of nodes that have one
        count.  The root and 0 if there is none.  Cost: the path up to where a window fills.
        """
        best: Node | None = None
        at = 0
        while (parent := node.parent) is not None:
            if node.window is None:
                best = None
            else:
                if best is None and not (has_states and (node.state is None or depth < node.end)):
                    best, at = node, depth
                if best is not None and at - parent.end >= self.size:
                    return best, at
            node = parent
            depth = node.end
        return (best, at) if best is not None else (node, 0)

    def oldest(self) -> Node | None:
        """The next to go, or None.  O(1)."""
        return next(iter(self._order), None)

    def stamp_of(self, node: Node) -> int:
        """Logical time of the last use of an unlocked window."""
        return self._order[node]

    def newest_first(self) -> Iterator[Node]:
        """All unlocked windows."""
        return reversed(self._order)

    def __contains__(self, node: Node) -> bool:
        return node in self._order

    # Using and locking

    def lift(self, node: Node, depth: int, stamp: int) -> None:
        """The window of a depth on the edge of `node` was used."""
        low = depth - self.size
        order = self._order
        while (parent := node.parent) is not None and node.end > low:
            if node in order:
                order[node] = stamp
                order.move_to_end(node)
            node = parent

    def lock(self, node: Node, depth: int) -> int:
        """Keep the window of a depth on the edge of `node`; returns its boundary.

        Tombstones are counted too, so pages that appear later cannot unbalance a release.
        """
        low = depth - self.size
        while (parent := node.parent) is not None and node.end > low:
            if not node.window_lock and node.window is not None:
                del self._order[node]
                self._protect(node.window.count)
            node.window_lock += 1
            node = parent
        return node.end

    def unlock(self, node: Node, boundary: int, stamp: int) -> None:
        """Undo a `lock` of this node with this boundary."""
        while (parent := node.parent) is not None and node.end > boundary:
            node.window_lock -= 1
            if not node.window_lock and node.window is not None:
                self._order[node] = stamp
                self._protect(-node.window.count)
            node = parent

    def _protect(self, pages: int) -> None:
        self.evictable -= pages * self.page_tokens
        self.protected += pages * self.page_tokens

    # Changing

    def fill(
        self, node: Node, part: WindowPart, split: Callable[[Node, int], Node], stamp: int
    ) -> tuple[list[Runs], list[Node]]:
        """Give the path that ends with `node` the pages of a part.

        Returns the pages that it had already, and the nodes that took theirs.

            [part.start, node.end)  tombstones take the pages; resident nodes keep their own
            an edge across part.start is split there if it is a tombstone

        Both deepest first.  Cost: the path down from `part.start`.
        """
        spare = []
        filled = []
        base = part.start
        while (parent := node.parent) is not None and node.end > base:
            if node.window is None and parent.end < base:
                parent = split(node, base)
            first = (max(parent.end, base) - base) // self.page_tokens
            pages = part.pages.slice(first, (node.end - base) // self.page_tokens)
            if node.window is None:
                self._put(node, pages, stamp)
                filled.append(node)
            else:
                spare.append(pages)
            node = parent
        return spare, filled

    def _put(self, node: Node, pages: Runs, stamp: int) -> None:
        node.window = pages
        node.window_gone = None
        tokens = pages.count * self.page_tokens
        if node.window_lock:
            self.protected += tokens
        else:
            self.evictable += tokens
            self._order[node] = stamp

    def split(self, prefix: Node, node: Node, at: int, stamp: int) -> None:
        """`prefix` took the first `at` pages of the edge of `node`, with its share of both.

        It lies on the path in use, so where it is unlocked it becomes the newest.
        """
        prefix.window_lock = node.window_lock
        prefix.window_gone = node.window_gone
        if node.window is None:
            return
        prefix.window, node.window = node.window.split(at)
        if not node.window_lock:
            self._order[prefix] = stamp

    def drop(self, node: Node) -> Runs:
        """Take an unlocked node's pages away."""
        pages = node.window
        assert pages is not None
        del self._order[node]
        node.window = None
        self.evictable -= pages.count * self.page_tokens
        return pages
