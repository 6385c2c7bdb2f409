"""The trie below the tree: edges, how they grow, split and leave, and what they count.

Depths and lengths are tokens.  Nothing here decides anything; `radix_tree` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cachepawl.errors import ArgumentError
from cachepawl.tree.edges import shared_bytes
from cachepawl.tree.events import EventLog
from cachepawl.tree.ghosts import GHOST_TOKENS, Ghosts
from cachepawl.tree.hashes import HASH_BYTES
from cachepawl.tree.locks import Lock
from cachepawl.tree.lru import KvList, StateList
from cachepawl.tree.node import Gone, Node
from cachepawl.tree.owners import Owners
from cachepawl.tree.refusals import refuse_key
from cachepawl.tree.windows import Windows
from cachepawl.types import NO_PAGES, TOKEN_BYTES, Key, Runs


class Trie:
    """Nodes under a root, the lists they are on, and exact counts of what they hold.

    `has_full`: full KV is kept.  `window`: tokens that sliding-window layers look back, or
    None without any.  `has_states`: the model has recurrent layers.  The counts are O(1)
    to read, and for callers read-only.
    """

    __slots__ = (
        "_clock",
        "_page_bytes",
        "_serial",
        "events",
        "full_evictable",
        "full_protected",
        "ghosts",
        "has_full",
        "has_states",
        "kv_list",
        "max_tokens",
        "num_nodes",
        "on_split",
        "open_locks",
        "owned_pages",
        "owned_slots",
        "owned_windows",
        "page_tokens",
        "root",
        "state_evictable",
        "state_list",
        "state_protected",
        "token_bytes",
        "windows",
    )

    full_evictable: int
    """Tokens of unlocked edges: of full KV, in a tree that has it."""
    full_protected: int
    """Tokens of locked edges."""
    state_evictable: int
    """Unlocked state slots."""
    state_protected: int
    """Locked state slots."""
    num_nodes: int
    """Nodes, the root not counted."""

    def __init__(
        self,
        page_tokens: int,
        *,
        token_bytes: int = TOKEN_BYTES,
        has_full: bool = True,
        window: int | None = None,
        has_states: bool = True,
        max_tokens: int | None = None,
        ghost_tokens: int = GHOST_TOKENS,
    ) -> None:
        """`page_tokens`: tokens a page.  `token_bytes`: bytes of one token id in a key.
        `max_tokens`: longest key that is accepted.  `ghost_tokens`: how much of what was
        evicted is remembered, for miss reasons.

        ArgumentError for sizes below 1, for negative memories, and for a tree that keeps
        nothing at all.
        """
        sizes = {"page_tokens": page_tokens, "token_bytes": token_bytes, "window": window,
                 "max_tokens": max_tokens}  # fmt: skip
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ArgumentError(f"{name} {size}: must be at least 1")
        if ghost_tokens < 0:
            raise ArgumentError(f"ghost_tokens {ghost_tokens}: must be at least 0")
        if not (has_full or window or has_states):
            raise ArgumentError("a tree without full KV, windows and states keeps nothing")
        self.page_tokens = page_tokens
        self.token_bytes = token_bytes
        self.has_full = has_full
        self.has_states = has_states
        self.max_tokens = max_tokens
        self.windows = Windows(window, page_tokens) if window else None
        self.ghosts = Ghosts(ghost_tokens, token_bytes)
        self.events: EventLog | None = None
        self.on_split: Callable[[Node, Node], None] | None = None
        """Told of every edge that is cut: the new node, which is the prefix, and the old one."""
        self._page_bytes = page_tokens * token_bytes
        self._clock = 0
        self._serial = 0
        self.open_locks: set[Lock] = set()
        """Receipts not spent yet; those on the root are among them."""
        self.owned_pages = Owners("page")
        self.owned_windows = Owners("window page")
        self.owned_slots: set[int] = set()
        self.root = Node(b"", b"", None, 0, NO_PAGES, 0)
        self.root.owner = self.root
        self._clear()

    def _clear(self) -> None:
        self.root.children = {}
        self.kv_list = KvList()
        self.state_list = StateList()
        if self.windows is not None:
            self.windows.clear()
        self.ghosts.clear()
        self.owned_pages.clear()
        self.owned_windows.clear()
        self.owned_slots.clear()
        self.full_evictable = 0
        self.full_protected = 0
        self.state_evictable = 0
        self.state_protected = 0
        self.num_nodes = 0

    @property
    def clock(self) -> int:
        """Logical time: the stamp of the latest use."""
        return self._clock

    @property
    def serial(self) -> int:
        """The latest serial given to a node; no later node gets one of these."""
        return self._serial

    @property
    def window_evictable(self) -> int:
        """Tokens of unlocked window KV."""
        return self.windows.evictable if self.windows is not None else 0

    @property
    def window_protected(self) -> int:
        """Tokens of locked window KV."""
        return self.windows.protected if self.windows is not None else 0

    def log_events(self) -> EventLog:
        """Log from now on what enters and leaves.  ArgumentError unless the tree is empty."""
        if self.num_nodes:
            raise ArgumentError(f"{self.num_nodes} nodes are in the tree; log before the first")
        self.events = EventLog(self.page_tokens, self.token_bytes)
        return self.events

    def walk(self) -> Iterator[Node]:
        """Every node but the root, parents before children, siblings oldest first.

        Valid while the tree is not changed.
        """
        todo = list(reversed(self.root.children.values()))
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children.values()))

    # Inside

    def _walk(self, key: Key, limit: int | None) -> tuple[Node, int, Node]:
        """Deepest node with a page on the path, matched bytes, deepest state within a limit.

        The state is that of the deepest node wholly on the path with `end <= limit`;
        the root if there is none.  ArgumentError for a key beyond `max_tokens`.
        """
        tokens, namespace = key
        page_bytes = self._page_bytes
        node = used = self.root
        at = 0
        if len(tokens) < page_bytes:
            return node, at, used
        if self.max_tokens is not None:
            refuse_key(self, len(tokens))
        if limit is None:
            limit = len(tokens)
        child = node.children.get(namespace + tokens[:page_bytes])
        while child is not None:
            node = child
            edge = node.key
            if not tokens.startswith(edge, at):
                at += shared_bytes(edge, tokens, at, page_bytes)
                break
            at += len(edge)
            if node.state is not None and node.end <= limit:
                used = node
            child = node.children.get(tokens[at : at + page_bytes])
        return node, at, used

    def _useless(self, node: Node) -> bool:
        """Whether nothing could use this node as the end of a prefix, were it a leaf."""
        return (self.has_states and node.state is None) or (
            self.windows is not None and node.window is None
        )

    def _grow(self, parent: Node, key: Key, at: int, pages: Runs) -> Node:
        """Hang a leaf with the tokens from byte `at` on; it is on no list yet."""
        tokens, namespace = key
        hook = tokens[at : at + self._page_bytes]
        if not at:
            # Unambiguous: the part behind the namespace is one page long, always.
            hook = namespace + hook
        end = len(tokens) // self.token_bytes
        edge = tokens[at:]
        ghost = self.ghosts.take(parent, hook)
        if ghost is not None and ghost.key == edge:
            serial = ghost.serial  # the same prefix as before, with the ghosts behind it
        else:
            self._serial = serial = self._serial + 1
        leaf = Node(edge, hook, parent, end, pages, serial)
        parent.children[hook] = leaf
        self.num_nodes += 1
        self.full_evictable += end - parent.end
        if self.events is not None and self.has_full:
            self.events.stored("full", leaf)
        return leaf

    def _split(self, node: Node, at: int) -> Node:
        """Cut an edge at depth `at`; returns the new node, which ends there.

        The new node is the prefix: a tombstone, locked as often as the suffix.  The
        suffix stays the same object, with the state, its lock and all receipts.
        """
        parent = node.parent
        assert parent is not None  # the root has no edge
        cut = (at - parent.end) * self.token_bytes
        page = (at - parent.end) // self.page_tokens
        head, tail = node.pages.split(page) if self.has_full else (NO_PAGES, NO_PAGES)
        self._serial += 1
        prefix = Node(node.key[:cut], node.hook, parent, at, head, self._serial)
        parent.children[prefix.hook] = prefix
        node.key = node.key[cut:]
        node.hook = node.key[: self._page_bytes]
        node.pages = tail
        node.parent = prefix
        prefix.children[node.hook] = node
        prefix.full_lock = node.full_lock
        if node.hashes is not None:
            prefix.hashes = node.hashes[: page * HASH_BYTES]
            node.hashes = node.hashes[page * HASH_BYTES :]
        if self.windows is not None:
            self.windows.split(prefix, node, page, self._clock)
        if not prefix.full_lock:
            if node.kv_stamp:
                self.kv_list.put_above(prefix, node)
            else:
                self.kv_list.put_warm(prefix, self._clock)
        self.num_nodes += 1
        if self.on_split is not None:
            self.on_split(prefix, node)
        return prefix

    def _put_state(self, node: Node, slot: int, stamp: int) -> None:
        node.state = slot
        node.state_stamp = stamp
        node.state_gone = None
        self.owned_slots.add(slot)
        if self.events is not None:
            self.events.stored("state", node)
        if node.state_lock:
            self.state_protected += 1
        else:
            self.state_evictable += 1
            self.state_list.put(node, stamp)

    def _drop_state(self, node: Node) -> int:
        slot = node.state
        assert slot is not None
        if self.events is not None:
            self.events.removed("state", node)
        node.state = None
        self.owned_slots.discard(slot)
        self.state_list.remove(node)
        del node.state_newer, node.state_older
        self.state_evictable -= 1
        return slot

    def _unlink(self, parent: Node, node: Node, gone: Gone) -> None:
        """Take a leaf out, remember it as a ghost, and make the object unusable."""
        if self.events is not None and self.has_full:
            self.events.removed("full", node)
        self.ghosts.add(parent, node, gone)
        self.kv_list.remove(node)
        self.owned_pages.release(node.pages)
        del parent.children[node.hook]
        retire(node)


def retire(node: Node) -> None:
    """Make an unlinked node unusable, so that a stale reference fails at once."""
    node.parent = node.owner = None
    node.pages = NO_PAGES
    del node.kv_newer, node.kv_older
