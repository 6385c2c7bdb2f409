"""A node of the tree: one edge of token ids, the pages that hold its KV, at most one state."""

from __future__ import annotations

from cachepawl.types import NO_PAGES, Runs


class Node:
    """A page-aligned run of tokens `[start, end)` on the path from the root.

    Written by the tree alone; callers read.  A node is *resident* while it has a
    parent; the root has none and owns nothing.  A resident node without a state
    is a *tombstone*.

    The links are set only by the lists of `cachepawl.tree.lru`.  They mean
    something only while the node is unlocked in that kind, and are deleted on
    eviction, so that a use after eviction fails at once.
    """

    __slots__ = (
        "children",
        "end",
        "full_lock",
        "hook",
        "host_pages",
        "host_state",
        "key",
        "kv_newer",
        "kv_older",
        "kv_stamp",
        "pages",
        "parent",
        "path_lock",
        "state",
        "state_lock",
        "state_newer",
        "state_older",
        "state_stamp",
        "window_lock",
    )

    key: bytes
    """The edge: token ids of `[start, end)`, without the namespace."""
    hook: bytes
    """The key under which the parent holds this node: first page of the edge, after
    the namespace if the parent is the root."""
    parent: Node | None
    children: dict[bytes, Node]
    end: int
    """Token depth of the end of the edge."""
    pages: Runs
    """Device pages of the edge, one per `page_tokens` tokens."""
    state: int | None
    """Slot of the state valid at `end`."""
    full_lock: int
    """Open receipts on this node or below it."""
    state_lock: int
    """Open receipts on this node that keep a state, whether or not it has one."""
    path_lock: int
    """Open receipts on this node that keep KV alone."""
    kv_newer: Node
    kv_older: Node
    kv_stamp: int
    """Logical time of the last use of the KV; 0 for what goes first and is not refreshed."""
    state_newer: Node
    state_older: Node
    state_stamp: int
    """Logical time of the last use of the state."""

    # Places kept for what the tree does not do yet: nothing sets or reads them.
    host_pages: Runs
    host_state: int
    window_lock: int

    def __init__(self, key: bytes, hook: bytes, parent: Node | None, end: int, pages: Runs) -> None:
        self.key = key
        self.hook = hook
        self.parent = parent
        self.children = {}
        self.end = end
        self.pages = pages
        self.state = None
        self.full_lock = 0
        self.state_lock = 0
        self.path_lock = 0
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
    node = Node(b"", b"", None, 0, NO_PAGES)
    node.kv_newer = node.kv_older = node
    node.state_newer = node.state_older = node
    return node
