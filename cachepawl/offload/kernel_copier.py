"""Copying by kernels that address pinned host memory themselves.  Needs torch and Triton.

The multiprocessors do the work, in competition with the forward: for what copy engines are slow
at, many small extents and rows of a layer.  For loads only.  While FlashAttention 3 runs,
kernels that write to host memory have been seen to fail with illegal accesses, so write-backs
are left to the copy engines.
"""

from __future__ import annotations

import torch

from cachepawl.offload.copier import TokenRows
from cachepawl.offload.extents import Extents, Piece
from cachepawl_kernels import UnitLayout, copy_extents, transfer


class KernelCopier:
    """One launch a call, whatever the number of extents or pages."""

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        to, came, count = (torch.tensor(column, dtype=torch.int64) for column in extents)
        copy_extents(dst, to, src, came, count)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        if not pieces:
            return
        layout = UnitLayout(
            rows.page_bytes, rows.row_bytes, rows.page_tokens, rows.entry_bytes, rows.base
        )
        to = torch.cat([torch.arange(p.target, p.target + p.pages) for p in pieces])
        came = torch.cat([torch.arange(p.source, p.source + p.pages) for p in pieces])
        transfer(dst, layout, to, src, layout, came)
