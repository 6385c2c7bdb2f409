"""Copiers that are wrong or slow on purpose, for tests that have to notice.  Needs torch."""

from __future__ import annotations

import time

import torch

from cachepawl.errors import ConfigError
from cachepawl.offload.copier import Copier, TokenRows, token_entries
from cachepawl.offload.copiers import Copiers
from cachepawl.offload.extents import Extents, Piece

KINDS = ("pages", "states")


def corrupted(copiers: Copiers, kind: str) -> Copiers:
    """The same, but what is loaded of `kind` (pages or states) arrives as zeros."""
    if kind == "pages":
        return copiers._replace(load=ZeroingCopier(copiers.load))
    if kind == "states":
        return copiers._replace(load_states=ZeroingCopier(copiers.load_states))
    raise ConfigError(f"corrupt loads of {kind!r}: give {' or '.join(KINDS)}")


def slowed(copiers: Copiers, seconds: float) -> Copiers:
    """The same, but each call takes `seconds` longer.  For lanes that are threads."""
    return Copiers(*(SlowCopier(copier, seconds) for copier in copiers))


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
