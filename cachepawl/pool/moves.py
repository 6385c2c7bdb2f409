"""Moves of KV pages: what is copied where, and how page lists read afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cachepawl.types import Runs


class Move(NamedTuple):
    """Pages `[source, source + pages)` go to `[target, target + pages)`.

    Neither range crosses a frame's border.
    """

    source: int
    target: int
    pages: int


class RowPiece(NamedTuple):
    """Positions `[position, position + pages)` of a row are pages `[first, first + pages)` now."""

    row: int
    position: int
    first: int
    pages: int


def touch(runs: Iterable[Sequence[int]], frames: frozenset[int], pages_per_frame: int) -> bool:
    """Whether some of the runs `(first, count)` lie in one of the frames.

    Costs the frames that the runs touch.
    """
    for first, count in runs:
        frame, last = first // pages_per_frame, (first + count - 1) // pages_per_frame
        while frame <= last:
            if frame in frames:
                return True
            frame += 1
    return False


class Moves:
    """One batch.  All sources are different pages, all targets too; no page is both."""

    __slots__ = ("_by_frame", "_full", "every", "pages")

    every: tuple[Move, ...]
    pages: int
    """Pages moved in all."""

    def __init__(self, every: Iterable[Move], pages_per_frame: int) -> None:
        self.every = tuple(every)
        self.pages = sum(move.pages for move in self.every)
        self._full = pages_per_frame
        self._by_frame: dict[int, list[Move]] = {}
        for move in sorted(self.every):
            self._by_frame.setdefault(move.source // pages_per_frame, []).append(move)

    @property
    def sources(self) -> Runs:
        return Runs((move.source, move.pages) for move in self.every)

    @property
    def targets(self) -> Runs:
        return Runs((move.target, move.pages) for move in self.every)

    def pieces(self, runs: Iterable[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
        """The runs afterwards: `(position, page, count)` of every piece, moved or not.

        Costs the frames that the runs touch, and the moves out of those frames.
        """
        position = 0
        full, frames = self._full, self._by_frame
        for first, count in runs:
            if first // full not in frames and first % full + count <= full:
                yield position, first, count  # most runs: in one frame, which nothing leaves
                position += count
                continue
            for page, here in self._cut(first, count):
                for start, length in self._moved(page, here):
                    yield position, start, length
                    position += length

    def rewrite(self, runs: Runs) -> Runs:
        """The same pages, where they are afterwards."""
        return Runs((page, count) for _, page, count in self.pieces(runs.runs))

    def _cut(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """A run, cut at the borders of frames."""
        while count > 0:
            here = min(count, self._full - first % self._full)
            yield first, here
            first, count = first + here, count - here

    def _moved(self, page: int, count: int) -> Iterator[tuple[int, int]]:
        """Where pages of one frame are afterwards, in order."""
        for move in self._by_frame.get(page // self._full, ()):
            if move.source >= page + count:
                break
            skip = page - move.source
            if skip >= move.pages:
                continue
            if skip < 0:  # not moved: what lies before this move
                yield page, -skip
                page, count, skip = page - skip, count + skip, 0
            here = min(count, move.pages - skip)
            yield move.target + skip, here
            page, count = page + here, count - here
        if count > 0:
            yield page, count
