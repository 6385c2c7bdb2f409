"""Why tokens of a prompt cannot be served from the cache.

        0 ---- usable ------------ candidate -------- kv_len ----- ghosts ----- length
               |  why the deepest   |  KV without a    |  evicted   |  nothing
               |  candidate failed  |  state           |            |  cached

A *candidate* is the deepest end that had, has elsewhere, or was refused what makes it
usable: were it usable, everything before it would be served.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from cachepawl.tree.edges import shared_bytes
from cachepawl.tree.node import LOCKED_OUT, Gone, Node
from cachepawl.tree.results import Match
from cachepawl.types import Key

if TYPE_CHECKING:
    from cachepawl.tree.structure import Trie


class Reason(StrEnum):
    """One word for each way to miss."""

    NOTHING_CACHED = "nothing cached"
    EVICTED = "evicted"
    """Its KV was cached and had to go."""
    NO_STATE = "KV without a state"
    STATE_EVICTED = "state evicted"
    WINDOW_BROKEN = "window broken"
    """The window KV before the end is not whole, and never was."""
    WINDOW_EVICTED = "window evicted"
    OTHER_TIER = "held in another tier"
    """The other tier could serve it, and had not yet."""
    LOCKED_OUT = "locked out"
    """A state was wanted here while all memory was locked, so none was kept."""
    LAST_TOKEN = "computed again for the last token"
    STATE_AT_END = "state only at the prompt's end"
    """The same, where the only state is that of the whole prompt."""
    DROPPED = "prefix dropped to make room"
    """A hit was given up: its own pages pinned the memory that the request needed."""


class Miss(NamedTuple):
    """Tokens that have to be computed for one reason."""

    reason: Reason
    tokens: int
    upto: int
    """Depth at which they end: how deep the KV without a state reaches, for one."""
    age: int | None = None
    """Uses of the cache since it was evicted."""
    by: str = ""
    """The policy that evicted it, if it has a name."""

    def __str__(self) -> str:
        text = f"{self.tokens} {self.reason}"
        if self.age is None:
            return text
        how = f" by {self.by}" if self.by else ""
        return f"{text} ({self.age} uses ago{how})"


def explain(tree: Trie, key: Key, found: Match, limit: int | None, elsewhere: int) -> list[Miss]:
    """Split `[found.usable_len, length)` of a key by reason; see `RadixTree.explain`."""
    length = len(key.tokens) // tree.token_bytes
    out: list[Miss] = []
    at = found.usable_len
    if elsewhere > at:
        out.append(Miss(Reason.OTHER_TIER, elsewhere - at, elsewhere))
        at = elsewhere
    if found.kv_len > at:
        out += _unusable(tree, found, at, length, length if limit is None else max(limit, 0))
        at = found.kv_len
    if found.kv_len == found.deepest.end:
        for stop, gone in _ghosts(tree, key, found.deepest):
            if stop > at:
                out.append(_miss(tree, Reason.EVICTED, at, stop, gone))
                at = stop
    if length > at:
        out.append(Miss(Reason.NOTHING_CACHED, length - at, length))
    return out


def _miss(tree: Trie, reason: Reason, start: int, stop: int, gone: Gone | None) -> Miss:
    if gone is None or gone.by == LOCKED_OUT:
        return Miss(reason, stop - start, stop)
    return Miss(reason, stop - start, stop, tree.clock - gone.stamp, gone.by)


def _unusable(tree: Trie, found: Match, usable: int, length: int, limit: int) -> list[Miss]:
    """Reasons for `[usable, kv_len)`, which is cached."""
    depth, reason, gone = _candidate(tree, found, usable, length, limit)
    out = []
    if depth > usable:
        out.append(_miss(tree, reason, usable, depth, gone))
    if found.kv_len > depth:
        rest = Reason.NO_STATE if tree.has_states else Reason.WINDOW_BROKEN
        out.append(Miss(rest, found.kv_len - depth, found.kv_len))
    return out


def _candidate(
    tree: Trie, found: Match, usable: int, length: int, limit: int
) -> tuple[int, Reason, Gone | None]:
    """The deepest candidate beyond the usable length, and why it is none; else that length."""
    if not tree.has_states:
        most = limit - limit % tree.page_tokens
        if tree.windows is None or usable == most < found.kv_len:
            return found.kv_len, Reason.LAST_TOKEN, None
        return found.kv_len, *_broken(found.deepest, usable)
    node = found.deepest
    if node.end > found.kv_len and node.parent is not None:
        node = node.parent
    while node.parent is not None and node.end > usable:
        reason, gone = _why(tree, node, usable, length, limit)
        if reason is not None:
            return node.end, reason, gone
        node = node.parent
    return usable, Reason.NO_STATE, None


def _why(
    tree: Trie, node: Node, usable: int, length: int, limit: int
) -> tuple[Reason | None, Gone | None]:
    """Why the end of a node cannot be used; None if nobody ever meant to."""
    if node.state is not None:
        if node.end > limit:
            return (Reason.STATE_AT_END if node.end == length else Reason.LAST_TOKEN), None
        return _broken(node, usable)
    if node.end > limit:
        return None, None  # a state here would have been of no use
    gone = node.state_gone
    if gone is None:
        return None, None
    return (Reason.LOCKED_OUT if gone.by == LOCKED_OUT else Reason.STATE_EVICTED), gone


def _broken(node: Node, usable: int) -> tuple[Reason, Gone | None]:
    """The first window tombstone met from a node upwards: evicted, or never there."""
    while node.parent is not None and node.end > usable:
        if node.window is None:
            gone = node.window_gone
            return (Reason.WINDOW_BROKEN if gone is None else Reason.WINDOW_EVICTED), gone
        node = node.parent
    return Reason.WINDOW_BROKEN, None


def _ghosts(tree: Trie, key: Key, node: Node) -> list[tuple[int, Gone]]:
    """Depths to which evicted edges would go on behind a node, and how each went."""
    tokens = key.tokens
    page_bytes = tree.page_tokens * tree.token_bytes
    at, serial = node.end * tree.token_bytes, node.serial
    out = []
    while len(tokens) - at >= page_bytes:
        hook = tokens[at : at + page_bytes]
        ghost = tree.ghosts.find(serial, hook if at else key.namespace + hook)
        if ghost is None:
            break
        shared = shared_bytes(ghost.key, tokens, at, page_bytes)
        at += shared
        out.append((at // tree.token_bytes, ghost.gone))
        if shared < len(ghost.key):
            break
        serial = ghost.serial
    return out
