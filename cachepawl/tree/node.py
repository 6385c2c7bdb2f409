"""A node of the tree: one edge of token ids, and what is kept of it."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.types import NO_PAGES, Runs


class Gone(NamedTuple):
    """When and how something left the tree, or was not kept."""

    stamp: int
    """Logical time."""
    by: str
    """The policy that named it; `LOCKED_OUT` if it never got room."""


LOCKED_OUT = "locked out"


class Node:
    """A page-aligned run of tokens `[start, end)` on the path from the root.

    Written by the tree alone; callers read.  A node is *resident* while it has a
    parent; the root has none and owns nothing.  A resident node without a state,
    or without its window, is a *tombstone* of that kind.

    The links are set only by the lists of `cachepawl.tree.lru`.  They mean
    something only while the node is unlocked in that kind, and are deleted on
    eviction, so that a use after eviction fails at once.
    """

    __slots__ = (
        "children",
        "end",
        "full_lock",
        "hashes",
        "hook",
        "key",
        "kv_newer",
        "kv_older",
        "kv_stamp",
        "owner",
        "pages",
        "parent",
        "serial",
        "state",
        "state_gone",
        "state_lock",
        "state_newer",
        "state_older",
        "state_stamp",
        "window",
        "window_gone",
        "window_lock",
    )

    key: bytes
    """The edge: token ids of `[start, end)`, without the namespace."""
    hook: bytes
    """The key under which the parent holds this node: first page of the edge, after
    the namespace if the parent is the root."""
    parent: Node | None
    owner: Node | None
    """The root of the node's tree; None once evicted."""
    children: dict[bytes, Node]
    end: int
    """Token depth of the end of the edge."""
    serial: int
    """Names the prefix that ends here, in this tree; ghosts of children refer to it."""
    pages: Runs
    """Device pages of full KV, one per `page_tokens` tokens; none in a tree without full KV."""
    window: Runs | None
    """Device pages of window KV, as many; None for a window tombstone."""
    state: int | None
    """Slot of the state valid at `end`."""
    hashes: bytes | None
    """Page hashes of the edge, 32 bytes each, once somebody asked for them."""
    full_lock: int
    """Open receipts on this node or below it."""
    state_lock: int
    """Open receipts on this node that keep a state, whether or not it has one."""
    window_lock: int
    """Open receipts whose window reaches this node, whether or not it has window pages."""
    state_gone: Gone | None
    """How the latest state left, or failed to come."""
    window_gone: Gone | None
    """How the window pages left."""
    kv_newer: Node
    kv_older: Node
    kv_stamp: int
    """Logical time of the last use of the KV; 0 for what goes first and is not refreshed."""
    state_newer: Node
    state_older: Node
    state_stamp: int
    """Logical time of the last use of the state."""

    def __init__(
        self, key: bytes, hook: bytes, parent: Node | None, end: int, pages: Runs, serial: int
    ) -> None:
        self.key = key
        self.hook = hook
        self.parent = parent
        self.owner = parent.owner if parent is not None else None
        self.children = {}
        self.end = end
        self.serial = serial
        self.pages = pages
        self.window = None
        self.state = None
        self.hashes = None
        self.full_lock = 0
        self.state_lock = 0
        self.window_lock = 0
        self.state_gone = None
        self.window_gone = None
        self.kv_stamp = 0
        self.state_stamp = 0

    @property
    def start(self) -> int:
        """Token depth of the start of the edge; meaningless once evicted."""
        return self.parent.end if self.parent is not None else 0

    def __repr__(self) -> str:
        where = f"[{self.start}, {self.end})" if self.parent is not None else f"end {self.end}"
        return f"<Node {where} state {self.state} locks {self.full_lock}/{self.state_lock}>"


def sentinel() -> Node:
    """An end mark of an intrusive list: a node that is in no tree, linked to itself."""
    node = Node(b"", b"", None, 0, NO_PAGES, 0)
    node.kv_newer = node.kv_older = node
    node.state_newer = node.state_older = node
    return node
