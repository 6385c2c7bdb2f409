"""The words every room shares: keys, runs of pages.  Imports nothing of ours.

Units: a *token depth* counts tokens from the start of a sequence, a *page* is P
tokens of KV, a page id is a physical page of the arena (token id t = page * P +
offset), a *state slot* is a frame of the arena that holds one state.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

TOKEN_BYTES = 8
"""Bytes of one token id inside a key: native-endian signed 64-bit, `array('q')`."""


class Key(NamedTuple):
    """What the tree is indexed by: token ids in a namespace.

    `tokens` is the raw memory of an `array('q')` of token ids; `namespace` is any
    byte string.  Two namespaces never share a page.
    """

    tokens: bytes
    namespace: bytes = b""


def namespace_of(extra_key: str | None, salt: str | None, lora_id: str | None = None) -> bytes:
    """The namespace of a request: the cached prefixes that it may share.

    Empty when all three are None or empty, as nothing sets the request apart then.  Otherwise
    each part is framed by a presence byte and its length, so that no two different triples
    give the same bytes.
    """
    if not (extra_key or salt or lora_id):
        return b""
    return b"".join(map(_framed, (extra_key, salt, lora_id)))


def _framed(part: str | None) -> bytes:
    if not part:
        return b"\0"
    # Strings from a request may hold lone surrogates; they too must stay apart.
    raw = part.encode("utf-8", "surrogatepass")
    return b"\1" + len(raw).to_bytes(8, "little") + raw


BIGRAM_BYTES = 2 * TOKEN_BYTES
"""Bytes of one bigram inside a key: its two token ids, one after the other."""


def bigrams(tokens: bytes) -> bytes:
    """Tokens as overlapping pairs, as EAGLE's draft model sees them: n tokens, n - 1 bigrams.

    For a tree built with `token_bytes=BIGRAM_BYTES`.  Empty for fewer than two tokens.
    """
    ids = array("q", tokens)
    if len(ids) < 2:
        return b""
    pairs = array("q", bytes(BIGRAM_BYTES * (len(ids) - 1)))
    pairs[0::2] = ids[:-1]
    pairs[1::2] = ids[1:]
    return pairs.tobytes()


class Runs:
    """An immutable sequence of page ids, stored as runs `(first page, count)`.

    Neighbouring runs that continue each other are merged, so a request whose
    pages lie side by side costs one pair however long it is.  Every operation
    costs the number of runs, never the number of pages.
    """

    __slots__ = ("_by_frame", "count", "runs")

    runs: tuple[tuple[int, int], ...]
    count: int
    _by_frame: tuple[int, tuple[tuple[int, int], ...]] | None
    """Pages of a frame, and what `by_frame` answered for that."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """Runs with a count of zero are dropped; a negative count raises ValueError."""
        merged: list[tuple[int, int]] = []
        total = 0
        for first, count in runs:
            if count <= 0:
                if count < 0:
                    raise ValueError(f"a run of {count} pages at page {first}")
                continue
            total += count
            if merged and merged[-1][0] + merged[-1][1] == first:
                first, count = merged[-1][0], merged[-1][1] + count
                merged[-1] = (first, count)
            else:
                merged.append((first, count))
        self.runs = tuple(merged)
        self.count = total
        self._by_frame = None

    @classmethod
    def merged(cls, runs: Iterable[tuple[int, int]], count: int) -> Runs:
        """From runs that are merged already, of `count` pages in all; checks nothing."""
        new = cls.__new__(cls)
        new.runs = tuple(runs)
        new.count = count
        new._by_frame = None
        return new

    @classmethod
    def of_pages(cls, pages: Iterable[int]) -> Runs:
        """From single page ids, in order (tests and slow paths)."""
        return cls((page, 1) for page in pages)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for first, count in self.runs:
            yield from range(first, first + count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and self.runs == other.runs

    def __hash__(self) -> int:
        return hash(self.runs)

    def __add__(self, other: Runs) -> Runs:
        if not other.count:
            return self
        if not self.count:
            return other
        return Runs(self.runs + other.runs)

    def __repr__(self) -> str:
        text = ",".join(f"{a}" if n == 1 else f"{a}..{a + n - 1}" for a, n in self.runs)
        return f"Runs({text})"

    def page_at(self, index: int) -> int:
        """The page id at a position; IndexError outside `[0, len)`."""
        if 0 <= index < self.count:
            for first, count in self.runs:
                if index < count:
                    return first + index
                index -= count
        raise IndexError(f"position {index} of {self.count} pages")

    def by_frame(self, pages_per_frame: int) -> tuple[tuple[int, int], ...]:
        """`(frame, pages in it)` for every frame that the pages touch, each once.

        Kept for the next time, as a cached path is locked again and again.
        """
        known = self._by_frame
        if known is not None and known[0] == pages_per_frame:
            return known[1]
        counts: dict[int, int] = {}
        for first, count in self.runs:
            frame, at = divmod(first, pages_per_frame)
            while count > 0:
                here = min(pages_per_frame - at, count)
                counts[frame] = counts.get(frame, 0) + here
                count -= here
                frame += 1
                at = 0
        answer = tuple(counts.items())
        self._by_frame = pages_per_frame, answer
        return answer

    def slice(self, start: int, stop: int) -> Runs:
        """Pages at positions `[start, stop)`; the bounds are clipped to `[0, len]`."""
        start, stop = max(start, 0), min(stop, self.count)
        if start == 0 and stop == self.count:
            return self
        out: list[tuple[int, int]] = []
        at = 0
        for first, count in self.runs:
            lo, hi = max(start - at, 0), min(stop - at, count)
            if lo < hi:
                out.append((first + lo, hi - lo))
            at += count
            if at >= stop:
                break
        return Runs.merged(out, max(stop - start, 0))

    def split(self, at: int) -> tuple[Runs, Runs]:
        """The first `at` pages and the rest; ValueError unless `0 <= at <= len`."""
        if not 0 <= at <= self.count:
            raise ValueError(f"split at {at} of {self.count} pages")
        return self.slice(0, at), self.slice(at, self.count)

    @staticmethod
    def concat(parts: Iterable[Runs]) -> Runs:
        """All parts, one after the other."""
        return Runs(run for part in parts for run in part.runs)


NO_PAGES = Runs()
