"""Prefixes that the log has already: a key is written as a place, and only what is new.

A *segment* is a run of whole pages that was new when it came.  It hangs on the path to its
parent, at any page of it, so nothing is ever split or renamed:

    key 1   space 0 ---------------- segment 1 ----------------
    key 2                    \\---- segment 2 ----               the first pages are the same
"""

from __future__ import annotations

from cachepawl.record.hashes import DIGEST_BYTES, chain, page_seed, shorten
from cachepawl.record.verbs import FORGET, SEGMENT, SPACE
from cachepawl.tree.edges import shared_bytes
from cachepawl.types import TOKEN_BYTES

MOST_BYTES = 64 << 20
"""Token ids and digests remembered; then all is forgotten and the log begins again."""
OVERHEAD = 400
"""Bytes that a segment counts beside them."""

Line = list[object]
Place = tuple[int, int, int]
"""Segment, whole pages on the path to it, tokens beyond."""


class Segment:
    """Pages `[start, start + len)` of a path; `start` in bytes of the key."""

    __slots__ = ("before", "children", "digests", "id", "start", "tokens")

    def __init__(self, id: int, start: int, tokens: bytes, before: bytes, digests: bytes) -> None:
        self.id = id
        self.start = start
        self.tokens = tokens
        self.before = before
        self.digests = digests
        self.children: dict[tuple[int, bytes], Segment] = {}
        """By where they leave this segment's path (bytes), and their first page."""

    def digest_at(self, at: int, page_bytes: int) -> bytes:
        """The digest of the page that ends at a byte of the path."""
        pages = (at - self.start) // page_bytes
        return self.digests[(pages - 1) * DIGEST_BYTES : pages * DIGEST_BYTES] or self.before


class KnownPrefixes:
    """A bounded memory of what the reader of this part of the log knows."""

    def __init__(self, salt: bytes, page_tokens: int, most_bytes: int = MOST_BYTES) -> None:
        self._salt = salt
        self._page_bytes = page_tokens * TOKEN_BYTES
        self._most = most_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything; the reader has to be told."""
        self._spaces: dict[bytes, Segment] = {}
        self._next_id = 0
        self._held = 0

    def place(self, tokens: bytes, namespace: bytes, lines: list[Line]) -> Place:
        """Where a key is; appends the lines that the reader needs first."""
        if self._held > self._most:
            self.clear()
            lines.append([FORGET])
        page = self._page_bytes
        whole = len(tokens) - len(tokens) % page
        here, at = self._space(namespace, lines), 0
        while at < whole:
            child = here.children.get((at, tokens[at : at + page]))
            if child is None:
                here = self._grow(here, at, tokens[at:whole], lines)
                break
            at += shared_bytes(child.tokens, tokens, at, page)
            here = child
        return here.id, whole // page, (len(tokens) - whole) // TOKEN_BYTES

    def _space(self, namespace: bytes, lines: list[Line]) -> Segment:
        space = self._spaces.get(namespace)
        if space is None:
            seed = page_seed(self._salt, namespace)
            space = self._new(0, b"", seed, b"")
            self._spaces[namespace] = space
            self._held += len(namespace)
            lines.append([SPACE, space.id, shorten(seed) if namespace else ""])
        return space

    def _grow(self, parent: Segment, at: int, tokens: bytes, lines: list[Line]) -> Segment:
        page = self._page_bytes
        before = parent.digest_at(at, page)
        segment = self._new(at, tokens, before, chain(before, tokens, page))
        parent.children[at, tokens[:page]] = segment
        lines.append([SEGMENT, segment.id, parent.id, at // page, shorten(segment.digests)])
        return segment

    def _new(self, start: int, tokens: bytes, before: bytes, digests: bytes) -> Segment:
        segment = Segment(self._next_id, start, tokens, before, digests)
        self._next_id += 1
        self._held += len(tokens) + len(digests) + OVERHEAD
        return segment
