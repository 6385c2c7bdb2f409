"""What was evicted, for a while: so that a miss can say that it was cached once.

A ghost is an edge that left the tree, found as a child is: by the prefix that it hung
on and its first page.  Prefixes are named by serials, which are never used again, so a
ghost is only ever found under the very prefix it was evicted from.  Ghosts hang on
ghosts: the serial of an evicted node goes on naming its prefix, and comes back to life
when the same edge is inserted again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from cachepawl.tree.node import Gone, Node

GHOST_TOKENS = 1 << 20
"""Tokens remembered unless told otherwise: 8 MiB of keys."""
OVERHEAD_TOKENS = 64
"""What a ghost counts beside its tokens, for its objects."""


class Ghost(NamedTuple):
    """An edge that was evicted."""

    key: bytes
    serial: int
    gone: Gone


class Ghosts:
    """At most `capacity` tokens of evicted edges, the latest.  Every step O(1)."""

    __slots__ = ("_held", "_left", "_token_bytes", "capacity")

    def __init__(self, capacity: int, token_bytes: int) -> None:
        self.capacity = capacity
        self._token_bytes = token_bytes
        self._held: OrderedDict[tuple[int, bytes], Ghost] = OrderedDict()
        self._left = capacity

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._left = self.capacity

    def add(self, parent: Node, node: Node, gone: Gone) -> None:
        """A node leaves the tree; the oldest ghosts make room.  There is none in its place."""
        if not self.capacity:
            return
        self._held[parent.serial, node.hook] = Ghost(node.key, node.serial, gone)
        self._left -= self._size(node.key)
        while self._left < 0:
            _, old = self._held.popitem(last=False)
            self._left += self._size(old.key)

    def take(self, parent: Node, hook: bytes) -> Ghost | None:
        """The ghost in a place, no longer remembered: something is there again."""
        ghost = self._held.pop((parent.serial, hook), None)
        if ghost is not None:
            self._left += self._size(ghost.key)
        return ghost

    def find(self, serial: int, hook: bytes) -> Ghost | None:
        """The ghost behind a prefix that begins with a page.  Does not modify anything."""
        return self._held.get((serial, hook))

    def _size(self, key: bytes) -> int:
        return len(key) // self._token_bytes + OVERHEAD_TOKENS
