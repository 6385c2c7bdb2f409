"""What `transfer` does, in plain torch."""

from __future__ import annotations

import torch

from cachepawl_kernels.transfer.layout import UnitLayout


def units_of(arena: torch.Tensor, layout: UnitLayout) -> torch.Tensor:
    """`(units, rows, row_bytes)` strided view of every unit of `arena`."""
    shape = (layout.units_in(arena.numel()), layout.rows, layout.row_bytes)
    start = arena.storage_offset() + layout.base
    return torch.as_strided(arena, shape, (layout.stride, layout.row_stride, 1), start)


def transfer_reference(
    dst: torch.Tensor,
    dst_layout: UnitLayout,
    dst_ids: torch.Tensor,
    src: torch.Tensor,
    src_layout: UnitLayout,
    src_ids: torch.Tensor,
) -> None:
    """Same arguments as `transfer`, on any device, unchecked."""
    units_of(dst, dst_layout)[dst_ids] = units_of(src, src_layout)[src_ids]
