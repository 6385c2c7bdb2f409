"""What entered and left the tree, by page hashes: for routers that follow a cache.

One stream of three kinds.  A page of full KV or of window KV is named by its hash, a state
by the hash of the page that ends at its depth; so whoever follows knows where KV is cached
without the state that makes it usable.  Splits are not events: no page moves.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from cachepawl.tree.hashes import HASH_BYTES, edge_hashes
from cachepawl.tree.node import Node

Kind = Literal["full", "window", "state"]


class Stored(NamedTuple):
    """Pages of an edge, or a state, are cached from now on."""

    kind: Kind
    hashes: tuple[bytes, ...]
    """Page hashes in token order; of a state one, that of the page before its depth."""
    parent: bytes | None
    """Hash of the page before the first one; None at the start of a sequence."""
    tokens: bytes
    """Token ids of the pages as in a key; of a state those of its page."""


class Removed(NamedTuple):
    """These are cached no more."""

    kind: Kind
    hashes: tuple[bytes, ...]


class Cleared(NamedTuple):
    """Nothing is cached any more, of any kind."""


Event = Stored | Removed | Cleared


class EventLog:
    """Events in order, until somebody takes them.  A tree without one pays nothing."""

    def __init__(self, page_tokens: int, token_bytes: int) -> None:
        self._page_tokens = page_tokens
        self._token_bytes = token_bytes
        self._events: list[Event] = []

    def take(self) -> list[Event]:
        """All events since the last call."""
        events, self._events = self._events, []
        return events

    def stored(self, kind: Kind, node: Node) -> None:
        """The node got its pages of this kind, or its state.  Cost: hashes not known yet."""
        hashes = self._hashes(kind, node)
        parent, tokens = self._before(node), node.key
        if kind == "state":
            known = node.hashes or b""
            page_bytes = self._page_tokens * self._token_bytes
            tokens = node.key[-page_bytes:]
            if len(known) > HASH_BYTES:
                parent = known[-2 * HASH_BYTES : -HASH_BYTES]
        self._events.append(Stored(kind, hashes, parent, tokens))

    def removed(self, kind: Kind, node: Node) -> None:
        """The node, still in the tree, loses them."""
        self._events.append(Removed(kind, self._hashes(kind, node)))

    def cleared(self) -> None:
        """Everything has left."""
        self._events.append(Cleared())

    def _hashes(self, kind: Kind, node: Node) -> tuple[bytes, ...]:
        joined = edge_hashes(node, self._page_tokens, self._token_bytes)
        first = len(joined) - HASH_BYTES if kind == "state" else 0
        return tuple(joined[at : at + HASH_BYTES] for at in range(first, len(joined), HASH_BYTES))

    @staticmethod
    def _before(node: Node) -> bytes | None:
        parent = node.parent
        return parent.hashes[-HASH_BYTES:] if parent is not None and parent.hashes else None
