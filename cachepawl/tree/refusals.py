"""Why a call is refused: value, limit and remedy, for the texts of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cachepawl.errors import ArgumentError, OwnershipError, UnknownNode
from cachepawl.tree.node import Node
from cachepawl.tree.windows import WindowPart
from cachepawl.types import Key, Runs

if TYPE_CHECKING:
    from cachepawl.tree.structure import Trie


def refuse_insert(
    tree: Trie,
    key: Key,
    pages: Runs,
    owned_from: int,
    matched: int,
    state: int | None,
    window: WindowPart | None,
) -> None:
    """ArgumentError if the arguments of an insert do not fit together, or to the tree."""
    size = len(key.tokens)
    length = size // tree.token_bytes
    page = tree.page_tokens
    if size % (page * tree.token_bytes) or owned_from % page:
        raise ArgumentError(
            f"a key of {size} bytes ({length} tokens), owned_from {owned_from}: both must be "
            f"multiples of {page} tokens; cut the key to whole pages"
        )
    if not 0 <= owned_from <= length:
        raise ArgumentError(f"owned_from {owned_from} is outside of a key of {length} tokens")
    wanted = (length - owned_from) // page if tree.has_full else 0
    if pages.count != wanted:
        raise ArgumentError(
            f"{pages.count} pages for tokens [{owned_from}, {length}), which are {wanted}; "
            "pass the pages from owned_from to the end"
        )
    if matched < owned_from:
        raise ArgumentError(
            f"owned_from {owned_from}, but the tree holds {matched} tokens of this key; "
            "keep the prefix locked until the insert, or pass its pages too"
        )
    if state is not None:
        _refuse_state(tree, length, state)
    if window is not None:
        _refuse_window(tree, length, owned_from, window)


def _refuse_state(tree: Trie, length: int, state: int) -> None:
    if not length:
        raise ArgumentError("a state with an empty key: there is no node to put it on")
    if not tree.has_states:
        raise ArgumentError("a state for a tree without states: build it with has_states=True")
    if state < 0:
        raise ArgumentError(f"state slot {state}: ids start at 0")
    if state in tree.owned_slots:
        raise OwnershipError(
            f"state slot {state} comes in twice: a slot has one owner; pass only what the "
            "caller took from the allocator itself"
        )


def _refuse_window(tree: Trie, length: int, owned_from: int, window: WindowPart) -> None:
    start, pages = window
    page = tree.page_tokens
    if tree.windows is None:
        raise ArgumentError("window pages for a tree without windows: build it with window=TOKENS")
    if start % page or not owned_from <= start <= length:
        raise ArgumentError(
            f"window pages from {start} on: must be a multiple of {page} in "
            f"[{owned_from}, {length}], what the caller owns of the key"
        )
    if pages.count * page != length - start:
        raise ArgumentError(
            f"{pages.count} window pages for tokens [{start}, {length}), which are "
            f"{(length - start) // page}; pass those from the start to the end"
        )


def refuse_depth(node: Node, depth: int) -> NoReturn:
    """ArgumentError for a depth that is not on the edge of a node."""
    raise ArgumentError(f"depth {depth} is outside of the edge of {node!r}; pass the usable length")


def refuse_key(tree: Trie, size: int) -> None:
    """ArgumentError for a key of `size` bytes beyond the longest that the tree accepts."""
    length = size // tree.token_bytes
    if tree.max_tokens is not None and length > tree.max_tokens:
        raise ArgumentError(
            f"a key of {length} tokens, at most {tree.max_tokens} are accepted; cut it, or "
            "build the tree with a larger max_tokens"
        )


def refuse_stranger(node: Node, why: str = "is not in this tree: it was evicted") -> NoReturn:
    """UnknownNode."""
    raise UnknownNode(f"{node!r} {why}; match again")


def refuse_eviction(tree: Trie, node: Node, kind: str) -> NoReturn:
    """UnknownNode or ArgumentError for a node whose `kind` cannot be evicted."""
    if node.parent is None or node.owner is not tree.root:
        refuse_stranger(node, f"cannot lose its {kind}: it is the root, or was evicted")
    raise ArgumentError(f"cannot evict the {kind} of {node!r}: {_why_not(node, kind)}")


def _why_not(node: Node, kind: str) -> str:
    if kind == "state" and node.state is None:
        return "it has no state"
    if kind == "window" and node.window is None:
        return "it has no window pages"
    if kind == "KV" and node.children:
        return f"it has {len(node.children)} children; evict those first"
    locks = {"KV": node.full_lock, "state": node.state_lock, "window": node.window_lock}
    return f"it is locked {locks[kind]} times; wait for unlock"
