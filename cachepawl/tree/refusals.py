"""Why a call is refused: value, limit and remedy, for the texts of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachepawl.tree.node import Node

if TYPE_CHECKING:
    from cachepawl.tree.radix_tree import RadixTree


def why_not_insert(tree: RadixTree, size: int, pages: int, owned_from: int) -> str:
    """Of a key of `size` bytes whose arguments do not fit together."""
    length, rest = divmod(size, tree.token_bytes)
    if rest or length % tree.page_tokens or owned_from % tree.page_tokens:
        return (
            f"a key of {size} bytes ({length} tokens), owned_from {owned_from}: both must be "
            f"multiples of {tree.page_tokens} tokens; cut the key to whole pages"
        )
    if not 0 <= owned_from <= length:
        return f"owned_from {owned_from} is outside of a key of {length} tokens"
    wanted = (length - owned_from) // tree.page_tokens
    if pages != wanted:
        return (
            f"{pages} pages for tokens [{owned_from}, {length}), which are {wanted}; "
            "pass the pages from owned_from to the end"
        )
    if not length:
        return "a state with an empty key: there is no node to put it on"
    return "a state for a tree without states: build it with has_states=True"


def why_not_evict(node: Node) -> str:
    """Of a node whose KV or state cannot be evicted."""
    if node.parent is None:
        return "it is the root or was evicted"
    if node.full_lock and (node.state_lock or not node.children):
        return f"it is locked {node.full_lock} times; wait for unlock"
    if node.children:
        stateless = " and no state" if node.state is None else ""
        return f"it has {len(node.children)} children{stateless}"
    return "it has no state"
