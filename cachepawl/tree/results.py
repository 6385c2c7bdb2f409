"""What the tree's verbs return."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.tree.locks import Lock
from cachepawl.tree.node import Node
from cachepawl.types import NO_PAGES, Runs


class Match(NamedTuple):
    """What is cached of a key.  Lengths in tokens, multiples of the page."""

    kv_len: int
    """Full KV on the path; may end inside an edge, and knows no limit.  In a tree without
    full KV, what is known of the path."""
    usable_len: int
    """What a request may start from: at most `kv_len` and the caller's limit."""
    node: Node
    """The node to lock for `usable_len`; the root when that is 0."""
    deepest: Node
    """The deepest node with at least one page on the path."""


class Locked(NamedTuple):
    """A receipt, and what it alone now keeps from eviction."""

    receipt: Lock
    pinned: tuple[Runs, ...]
    """Pages of the nodes whose KV was unlocked before, deepest first."""


class InsertResult(NamedTuple):
    """Where a key ended, and what the tree did not take."""

    node: Node
    """The node whose `end` is the length of the key."""
    matched_len: int
    """Tokens that were cached before."""
    duplicates: Runs
    """The caller's pages of `[owned_from, matched_len)`: still the caller's, to free."""
    state_taken: bool
    """Whether the tree owns the state now; if not, it is still the caller's."""
    spare_window: Runs = NO_PAGES
    """The caller's window pages that the tree had already: still the caller's, to free."""


class Freed(NamedTuple):
    """What left the tree and belongs to nobody: the caller frees it."""

    pages: Runs
    states: tuple[int, ...]
    nodes: int
    window: Runs = NO_PAGES
    """Window pages."""
