"""The byte extents of a copy between two arenas of the same shapes.  No torch.

    pages from   | 4  5  6  7 | 20 21 |        runs of the source
    pages to     | 9 10 | 30 31 32 33 |        runs of the destination
    pieces       | 2    | 2   | 2     |        consecutive on both sides: one extent each

Pages are token-major, so consecutive pages are consecutive bytes.  Costs follow the number
of runs, never the number of pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cachepawl.errors import TransferError
from cachepawl.offload.transfers import Copy
from cachepawl.pool.geometry import Geometry
from cachepawl.types import Runs


class Piece(NamedTuple):
    """`pages` pages, consecutive on both sides."""

    source: int
    target: int
    pages: int


class Places(NamedTuple):
    """A geometry's numbers, computed once: an order must not cost their arithmetic."""

    page_bytes: int
    state_bytes: int
    """0 without states."""
    frame_bytes: int
    pages_per_frame: int
    num_frames: int

    @classmethod
    def of(cls, geometry: Geometry) -> Places:
        return cls(
            geometry.page_bytes,
            geometry.state_bytes,
            geometry.frame_bytes,
            geometry.pages_per_frame,
            geometry.num_frames,
        )


class Extents(NamedTuple):
    """Columns of equal length, bytes: `dst[target[i] : + nbytes[i]] = src[source[i] : + ...]`."""

    target: list[int]
    source: list[int]
    nbytes: list[int]

    @property
    def total(self) -> int:
        return sum(self.nbytes)


def pieces_of(source: Runs, target: Runs) -> Iterator[Piece]:
    """Both sequences cut where either run ends; they must have the same count."""
    theirs = iter(target.runs)
    to, room = 0, 0
    for came, count in source.runs:
        while count:
            if not room:
                to, room = next(theirs)
            here = min(count, room)
            yield Piece(came, to, here)
            came, count, to, room = came + here, count - here, to + here, room - here


def page_extents(pieces: list[Piece], places: Places) -> Extents:
    """Whole pages."""
    size = places.page_bytes
    return Extents(
        [piece.target * size for piece in pieces],
        [piece.source * size for piece in pieces],
        [piece.pages * size for piece in pieces],
    )


def state_extents(copy: Copy, places: Places) -> Extents:
    """States, without what is left over of their frames."""
    size = places.frame_bytes
    return Extents(
        [slot * size for slot in copy.states_to],
        [slot * size for slot in copy.states_from],
        [places.state_bytes] * len(copy.states_to),
    )


def check_copy(copy: Copy, source: Places, target: Places) -> None:
    """TransferError unless every place exists, none is written twice and counts agree.

    Frame 0 is the padding sink of either arena and holds nothing.  O(n log n) in runs and states.
    """
    if copy.pages_from.count != copy.pages_to.count:
        raise TransferError(f"{copy.pages_from.count} pages to {copy.pages_to.count} places")
    if len(copy.states_from) != len(copy.states_to):
        raise TransferError(f"{len(copy.states_from)} states to {len(copy.states_to)} slots")
    if copy.states_from and not source.state_bytes:
        raise TransferError(f"{len(copy.states_from)} states of a model that has none")
    for name, places, pages, states in (
        ("source", source, copy.pages_from, copy.states_from),
        ("destination", target, copy.pages_to, copy.states_to),
    ):
        spans = [(first, first + count) for first, count in pages.runs]
        each = places.pages_per_frame
        spans += [(slot * each, (slot + 1) * each) for slot in states]
        spans.sort()
        _check_spans(name, spans, places, twice=name == "source")


def _check_spans(name: str, spans: list[tuple[int, int]], places: Places, *, twice: bool) -> None:
    """`spans` are `[first page, end)`, in order."""
    each = places.pages_per_frame
    least, most = each, places.num_frames * each
    if spans and (spans[0][0] < least or max(end for _, end in spans) > most):
        raise TransferError(
            f"{name} pages {spans[0][0]} to {max(end for _, end in spans) - 1}; "
            f"the arena's are {least} to {most - 1}, {each} a frame"
        )
    before = 0
    for first, end in () if twice else spans:
        if first < before:
            raise TransferError(f"{name} page {first} is written twice")
        before = end
