"""Copying and clearing whole slots by ids that are on the device, in one launch.

The other launchers take ids from the host, where they can be checked.  SGLang keeps the slots of
running requests in device tensors and joins those of a batch there: to look at them would mean
to wait for the device.  So nothing goes up for these launches and nothing comes back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton

from cachepawl_kernels.arguments import ALIGN, as_words, check_arena, check_same_device
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.launching import launch
from cachepawl_kernels.slots.kernel import copy_slot_tiles, zero_slot_tiles
from cachepawl_kernels.transfer.layout import UnitLayout, check_layout


class SlotsTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    words: int = 2048
    # 16 KiB a program, eight 16-byte accesses a lane of 4 warps, as in a transfer: a state of
    # 72 MiB is 4608 programs.


def copy_slots(
    arena: torch.Tensor,
    layout: UnitLayout,
    dst_ids: torch.Tensor,
    src_ids: torch.Tensor,
    *,
    tile: SlotsTile = SlotsTile(),  # noqa: B008 - immutable
) -> None:
    """Copy slot `src_ids[i]` to slot `dst_ids[i]`, for every i.

    `arena` is `(bytes,)` uint8, contiguous, 16-byte aligned; `layout` has one row.  The ids are
    `(n,)` int64, contiguous, on the arena's device.  Their values are the caller's word: no
    destination may be twice among them or be a source as well, and nobody checks.  A pair with
    an id that is no slot is passed over.

    On the current stream, one launch, no synchronisation, no upload; n = 0 launches nothing.
    Host cost O(1).  KernelArgumentError for what can be seen without reading the ids.
    """
    _check("dst_ids", arena, layout, dst_ids)
    _check("src_ids", arena, layout, src_ids)
    if dst_ids.numel() != src_ids.numel():
        raise KernelArgumentError(
            f"columns of different lengths: dst_ids {dst_ids.numel()}, src_ids {src_ids.numel()}"
        )
    if dst_ids.numel():
        _launch(copy_slot_tiles, arena, layout, (dst_ids, src_ids), tile)


def zero_slots(
    arena: torch.Tensor,
    layout: UnitLayout,
    ids: torch.Tensor,
    *,
    tile: SlotsTile = SlotsTile(),  # noqa: B008 - immutable
) -> None:
    """Clear the slots `ids`.  Arguments, cost and errors as in `copy_slots`."""
    _check("ids", arena, layout, ids)
    if ids.numel():
        _launch(zero_slot_tiles, arena, layout, (ids,), tile)


def _launch(
    kernel: object,
    arena: torch.Tensor,
    layout: UnitLayout,
    ids: tuple[torch.Tensor, ...],
    tile: SlotsTile,
) -> None:
    tiles = triton.cdiv(layout.row_bytes // 8, tile.words)
    launch(
        kernel,
        ids[0].numel() * tiles,
        arena.device,
        as_words(arena),
        *ids,
        layout.units_in(arena.numel()),
        layout.stride // ALIGN,
        layout.row_bytes // ALIGN,
        WORDS=tile.words,
    )


def _check(name: str, arena: torch.Tensor, layout: UnitLayout, ids: torch.Tensor) -> None:
    check_runnable(arena.device)
    check_arena("arena", arena)
    check_layout("layout", layout)
    if layout.rows != 1 or layout.base:
        raise KernelArgumentError(
            f"layout has {layout.rows} rows from byte {layout.base}; a slot is one row from byte 0"
        )
    check_same_device("arena", arena, name, ids)
    if ids.dtype != torch.int64 or ids.dim() != 1 or not ids.is_contiguous():
        raise KernelArgumentError(
            f"{name} has dtype {ids.dtype}, shape {tuple(ids.shape)} and strides {ids.stride()}; "
            f"it must be one contiguous dimension of torch.int64"
        )
