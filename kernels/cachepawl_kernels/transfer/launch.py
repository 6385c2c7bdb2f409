"""Moving pages, states or one layer of them between two arenas by batches of ids."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton

from cachepawl_kernels.arguments import (
    ALIGN,
    Column,
    as_words,
    check_arena,
    check_distinct,
    check_ids,
    check_same_length,
    common_device,
    host_column,
)
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.launching import launch, upload
from cachepawl_kernels.transfer.kernel import transfer_units
from cachepawl_kernels.transfer.layout import UnitLayout, check_layout, dense

WORD = 8


class TransferTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    words: int = 2048
    # 16 KiB a program, eight 16-byte accesses a lane of 4 warps; short rows (the K and V of a
    # token are 1 to 4 KiB) stand on each other until the tile is full, so no lane is idle.


def transfer(
    dst: torch.Tensor,
    dst_layout: UnitLayout,
    dst_ids: torch.Tensor,
    src: torch.Tensor,
    src_layout: UnitLayout,
    src_ids: torch.Tensor,
    *,
    tile: TransferTile = TransferTile(),  # noqa: B008 - immutable
) -> None:
    """Copy unit `src_ids[i]` of `src` to unit `dst_ids[i]` of `dst`, for every i.

    `dst` and `src` are `(bytes,)` uint8, contiguous, 16-byte aligned, on one device or one of
    them in pinned host memory, and do not overlap.  Both layouts have the same rows and row
    bytes.  Ids are `(n,)` int64 host tensors of whole units; a destination occurs once.

    On the current stream, one launch, no synchronisation; n = 0 launches nothing.  Host cost
    O(n log n); 16 bytes go up a unit.  KernelArgumentError otherwise.
    """
    device = common_device("dst", dst, "src", src)
    check_runnable(device)
    check_layout("dst_layout", dst_layout)
    check_layout("src_layout", src_layout)
    _check_same_rows(dst_layout, src_layout)
    _check_arenas(dst, src)
    to = _checked_ids("dst_ids", dst_ids, dst_layout.units_in(dst.numel()))
    came = _checked_ids("src_ids", src_ids, src_layout.units_in(src.numel()))
    check_same_length(dst_ids=to, src_ids=came)
    check_distinct("dst_ids", to)
    if not to.size:
        return
    row_words = src_layout.row_bytes // WORD
    words = min(triton.next_power_of_2(row_words), tile.words)
    rows = min(triton.next_power_of_2(src_layout.rows), tile.words // words)
    programs = to.size * triton.cdiv(src_layout.rows, rows) * triton.cdiv(row_words, words)
    launch(
        transfer_units,
        programs,
        device,
        as_words(dst),
        as_words(src),
        upload((to, came), device),
        src_layout.rows,
        src_layout.row_bytes // ALIGN,
        *_strides(dst_layout),
        *_strides(src_layout),
        ROWS=rows,
        WORDS=words,
    )


def gather(
    staging: torch.Tensor, arena: torch.Tensor, layout: UnitLayout, ids: torch.Tensor
) -> None:
    """Pack units `ids` of `arena` densely into `staging`: `(n, rows, row_bytes)`, in their order.

    `staging` has at least n units.  Otherwise as `transfer`; an id may occur twice.
    """
    packed = dense(layout.rows, layout.row_bytes)
    transfer(staging, packed, torch.arange(ids.numel()), arena, layout, ids)


def scatter(
    arena: torch.Tensor, layout: UnitLayout, ids: torch.Tensor, staging: torch.Tensor
) -> None:
    """Unpack what `gather` packed: unit i of `staging` becomes unit `ids[i]` of `arena`."""
    packed = dense(layout.rows, layout.row_bytes)
    transfer(arena, layout, ids, staging, packed, torch.arange(ids.numel()))


def _checked_ids(name: str, ids: torch.Tensor, units: int) -> Column:
    column = host_column(name, ids)
    check_ids(name, column, units)
    return column


def _strides(layout: UnitLayout) -> tuple[int, int, int]:
    return layout.stride // ALIGN, layout.row_stride // ALIGN, layout.base // ALIGN


def _check_same_rows(dst: UnitLayout, src: UnitLayout) -> None:
    if (dst.rows, dst.row_bytes) != (src.rows, src.row_bytes):
        raise KernelArgumentError(
            f"dst_layout has {dst.rows} rows of {dst.row_bytes} bytes, "
            f"src_layout {src.rows} of {src.row_bytes}; a unit must be the same on both sides"
        )


def _check_arenas(dst: torch.Tensor, src: torch.Tensor) -> None:
    check_arena("dst", dst)
    check_arena("src", src)
    begin, end = max(dst.data_ptr(), src.data_ptr()), min(_end(dst), _end(src))
    if begin < end:
        raise KernelArgumentError(
            f"dst and src share {end - begin} bytes; inside one arena use copy_extents"
        )


def _end(arena: torch.Tensor) -> int:
    return arena.data_ptr() + arena.numel()
