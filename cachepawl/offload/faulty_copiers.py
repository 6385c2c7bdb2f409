"""Copiers that are wrong, slow or out of memory on purpose, for tests that have to notice.

Needs torch.
"""

from __future__ import annotations

import time

import torch

from cachepawl.errors import ConfigError
from cachepawl.offload.copier import Copier, TokenRows, token_entries
from cachepawl.offload.copiers import Copiers
from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.faults import INJECTED
from cachepawl.offload.transfers import Direction

KINDS = ("pages", "states")


def corrupted(copiers: Copiers, kind: str) -> Copiers:
    """The same, but what is loaded of `kind` (pages or states) arrives as zeros."""
    check_kind(kind)
    if kind == "pages":
        return copiers._replace(load=ZeroingCopier(copiers.load))
    return copiers._replace(load_states=ZeroingCopier(copiers.load_states))


def check_kind(kind: str) -> None:
    """ConfigError unless it is one that `corrupted` knows."""
    if kind not in KINDS:
        raise ConfigError(f"corrupt loads of {kind!r}: give {' or '.join(KINDS)}")


def slowed(copiers: Copiers, seconds: float) -> Copiers:
    """The same, but each call takes `seconds` longer.  For lanes that are threads."""
    return Copiers(*(SlowCopier(copier, seconds) for copier in copiers))


class Shortage:
    """Memory that runs out when it is told to; copies may begin on any thread."""

    def __init__(self) -> None:
        self._out: set[Direction] = set()

    def run_out(self, direction: Direction) -> None:
        """The next copy of that direction raises for want of memory."""
        self._out.add(direction)

    def error(self) -> Exception:
        """What an allocation raises."""
        return torch.OutOfMemoryError(f"out of memory, {INJECTED}")

    def around(self, copiers: Copiers) -> Copiers:
        """The same, but they need this memory."""
        write, *loads = copiers
        return Copiers(
            StarvingCopier(write, self, Direction.WRITE_BACK),
            *[StarvingCopier(load, self, Direction.LOAD_BACK) for load in loads],
        )

    def use(self, direction: Direction) -> None:
        """Raises where it has run out, once."""
        if direction in self._out:
            self._out.discard(direction)
            raise self.error()


class StarvingCopier:
    """Copies where there is memory."""

    def __init__(self, inner: Copier, memory: Shortage, direction: Direction) -> None:
        self._inner = inner
        self._memory = memory
        self._direction = direction

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        self._memory.use(self._direction)
        self._inner.extents(dst, src, extents)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        self._memory.use(self._direction)
        self._inner.rows(dst, src, pieces, rows)


class ZeroingCopier:
    """Copies, and clears what it copied, in the same order on the same stream."""

    def __init__(self, inner: Copier) -> None:
        self._inner = inner

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        self._inner.extents(dst, src, extents)
        for to, count in zip(extents.target, extents.nbytes, strict=True):
            dst[to : to + count] = 0

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        self._inner.rows(dst, src, pieces, rows)
        entries = token_entries(dst, rows)
        for piece in pieces:
            first, count = piece.target * rows.page_tokens, piece.pages * rows.page_tokens
            entries[first : first + count, rows.base : rows.base + rows.row_bytes] = 0


class SlowCopier:
    """Sleeps, then copies."""

    def __init__(self, inner: Copier, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        time.sleep(self._seconds)
        self._inner.extents(dst, src, extents)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        time.sleep(self._seconds)
        self._inner.rows(dst, src, pieces, rows)
