"""Keys of a log: places on paths of hashed pages, made into keys again.

A page becomes its hash, repeated as often as a page has tokens.  Tokens beyond the last whole
page are not in the log, only how many they are; they become `FILL`.  No cache looks at those.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import NamedTuple

from cachepawl.record.hashes import HASH_BYTES
from cachepawl.types import TOKEN_BYTES, Key

FILL = b"\xff" * TOKEN_BYTES
MOST_BYTES = 1 << 30
"""Of keys that are known at a time; writers forget long before."""
KEPT = 64
"""Keys that are kept made."""


class Segment:
    """Pages `[first, end)` of a path; without a parent, the start of a namespace."""

    __slots__ = ("end", "first", "namespace", "parent", "tokens")

    def __init__(
        self, parent: Segment | None, first: int, end: int, tokens: bytes, namespace: bytes
    ) -> None:
        self.parent = parent
        self.first = first
        self.end = end
        self.tokens = tokens
        self.namespace = namespace

    def path(self, pages: int, page_bytes: int) -> bytes:
        """Token ids of the first `pages` pages of the path that ends here."""
        parts: list[bytes] = []
        here: Segment | None = self
        while here is not None:
            if pages > here.first:
                parts.append(here.tokens[: (pages - here.first) * page_bytes])
                pages = here.first
            here = here.parent
        return b"".join(reversed(parts))


class Place(NamedTuple):
    """A key that is not made yet."""

    segment: Segment
    pages: int
    rest: int
    """Tokens beyond the last whole page."""


class Paths:
    """The segments that the log may name at this point."""

    def __init__(self, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self._page_bytes = page_tokens * TOKEN_BYTES
        self._made: dict[Place, Key] = {}
        self.forget()

    def forget(self) -> None:
        """The log says that it names none of them again; places got before stay good."""
        self._segments: dict[int, Segment] = {}
        self._made.clear()
        self._held = 0

    def add_space(self, number: int, name: str) -> None:
        """A namespace.  ValueError says what is wrong with it."""
        self._new(number, Segment(None, 0, 0, b"", _hashes(name) if name else b""))

    def add_segment(self, number: int, parent: int, first: int, hashes: str) -> None:
        """Pages behind page `first` of the path to `parent`.  ValueError as above."""
        above = self._find(parent)
        if not above.first <= first <= above.end:
            raise ValueError(f"page {first}: segment {parent} has [{above.first}, {above.end}]")
        raw = _hashes(hashes)
        pages = len(raw) // HASH_BYTES
        self._held += pages * self._page_bytes
        if self._held > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes of keys are in use at a time")
        fill, times = bytes(TOKEN_BYTES - HASH_BYTES), self.page_tokens
        tokens = b"".join(
            (raw[at : at + HASH_BYTES] + fill) * times for at in range(0, len(raw), HASH_BYTES)
        )
        self._new(number, Segment(above, first, first + pages, tokens, above.namespace))

    def place(self, number: int, pages: int, rest: int) -> Place:
        """A key of the log.  ValueError when the path is not that long."""
        segment = self._find(number)
        if not segment.first <= pages <= segment.end:
            raise ValueError(f"{pages} pages: segment {number} has "
                             f"[{segment.first}, {segment.end}]")  # fmt: skip
        if not 0 <= rest < self.page_tokens:
            raise ValueError(f"{rest} tokens beyond pages of {self.page_tokens}")
        return Place(segment, pages, rest)

    def key(self, place: Place) -> Key:
        """The key of a place.  Cost: its length, unless it was made just now."""
        made = self._made.get(place)
        if made is None:
            segment, pages, rest = place
            tokens = segment.path(pages, self._page_bytes) + FILL * rest
            made = Key(tokens, segment.namespace)
            if len(self._made) >= KEPT:
                self._made.clear()
            self._made[place] = made
        return made

    def _new(self, number: int, segment: Segment) -> None:
        if number in self._segments:
            raise ValueError(f"segment {number} is there already")
        self._segments[number] = segment

    def _find(self, number: int) -> Segment:
        segment = self._segments.get(number)
        if segment is None:
            raise ValueError(f"segment {number} was never given")
        return segment


def _hashes(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise ValueError(f"{text[:40]!r} is not base64") from None
    if not raw or len(raw) % HASH_BYTES:
        raise ValueError(f"{len(raw)} bytes of hashes of {HASH_BYTES} bytes each")
    return raw
