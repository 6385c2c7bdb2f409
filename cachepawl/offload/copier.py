"""How bytes get from one arena to another: the interface, and torch's own way.  Needs torch.

Everything is issued on the current stream; nothing waits.  `dst` and `src` are `(bytes,)` uint8
arenas that do not overlap, usually a device's and the host's.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.layers import LayerGroup
from cachepawl.pool.geometry import Geometry


class TokenRows(NamedTuple):
    """The same bytes of every token of a page: `row_bytes` from `base` of each entry."""

    page_tokens: int
    entry_bytes: int
    base: int
    row_bytes: int

    @classmethod
    def of(cls, group: LayerGroup, geometry: Geometry) -> TokenRows:
        return cls(geometry.page_tokens, geometry.entry_bytes, group.base, group.row_bytes)

    @property
    def page_bytes(self) -> int:
        return self.page_tokens * self.entry_bytes


class Copier(Protocol):
    """A way to copy.  Arguments are trusted: `check_copy` has seen them."""

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        """Copy byte extents, which do not overlap in `dst`."""

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        """Copy the rows of all tokens of the pieces' pages, and nothing beside them."""


class TorchCopier:
    """One asynchronous copy an extent: what others are compared with, and all a CPU needs.

    On a GPU `extents` costs the host some microseconds each; `rows` would copy to a buffer
    first and wait, so it is for the CPU.
    """

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        for to, came, count in zip(*extents, strict=True):
            dst[to : to + count].copy_(src[came : came + count], non_blocking=True)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        to, came = token_entries(dst, rows), token_entries(src, rows)
        columns = slice(rows.base, rows.base + rows.row_bytes)
        for piece in pieces:
            first, other = piece.target * rows.page_tokens, piece.source * rows.page_tokens
            count = piece.pages * rows.page_tokens
            to[first : first + count, columns] = came[other : other + count, columns]


def token_entries(arena: torch.Tensor, rows: TokenRows) -> torch.Tensor:
    """`(tokens, entry_bytes)` uint8: every whole entry of the arena."""
    count = arena.numel() // rows.entry_bytes
    return arena[: count * rows.entry_bytes].view(count, rows.entry_bytes)
