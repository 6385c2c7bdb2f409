"""Forking states: copies of several states from slot to slot, each part in the format it gets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from cachepawl_kernels.arguments import (
    ALIGN,
    Column,
    check_arena,
    check_ids,
    check_same_device,
    check_same_length,
    host_column,
)
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.extents import check_reads_apart, check_writes_apart, checked_offsets, cut
from cachepawl_kernels.fork.kernel import fork_pieces
from cachepawl_kernels.fork.layout import (
    ELEMENTS_UNIT,
    SCALE_BLOCK,
    Part,
    StateLayout,
    check_same_parts,
    check_state_layout,
)
from cachepawl_kernels.launching import launch, upload

COPY = (-1, -1)
"""The kernel's kind for what stays as it is."""
UNITS_A_BLOCK = SCALE_BLOCK // ELEMENTS_UNIT
SCALE_BYTES = 4


class ForkTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    blocks: int = 16
    # 2048 elements a step over 4 warps: 16 a lane, four 16-byte loads of float32 in flight;
    # more would not stay in registers through the roundings.
    piece_blocks: int = 64
    # 8192 elements a program: a temporal part of 18 million is 2304 programs.  A piece starts
    # on a multiple of 16 bytes in every format; its scales do too if this is a multiple of 4.


def fork_states(
    dst: torch.Tensor,
    dst_layout: StateLayout,
    dst_slots: torch.Tensor,
    src: torch.Tensor,
    src_layout: StateLayout,
    src_slots: torch.Tensor,
    *,
    tile: ForkTile = ForkTile(),  # noqa: B008 - immutable
) -> None:
    """Slot `dst_slots[i]` of `dst` becomes state `src_slots[i]` of `src`, for every i.

    `dst` and `src` are `(bytes,)` uint8, contiguous, 16-byte aligned, on one device; they may be
    the same arena.  Both layouts have the same parts (elements, in multiples of 16), in formats
    of their own; any format becomes any other.  A part whose format stays is copied bit by bit,
    scales included; otherwise numbers are rounded to nearest even, and NaN, infinity and overflow
    follow the table in `fork/rounding.py`.  Slots are `(n,)` int64 host tensors; no destination
    slot is written twice or is also a source.  Padding between parts is not touched.

    On the current stream, one launch, no synchronisation; n = 0 launches nothing.  Host cost
    O(n log n + pieces of 8192 elements); 48 bytes go up a piece.  KernelArgumentError otherwise.
    """
    _check_sides(dst, dst_layout, src, src_layout)
    to = _checked_slots("dst_slots", dst_slots, dst_layout, dst) * dst_layout.stride
    came = _checked_slots("src_slots", src_slots, src_layout, src) * src_layout.stride
    check_same_length(dst_slots=to, src_slots=came)
    _fork(_End(dst, dst_layout, to), _End(src, src_layout, came), tile)


def fork_states_at(
    dst: torch.Tensor,
    dst_layout: StateLayout,
    dst_starts: torch.Tensor,
    src: torch.Tensor,
    src_layout: StateLayout,
    src_starts: torch.Tensor,
    *,
    tile: ForkTile = ForkTile(),  # noqa: B008 - immutable
) -> None:
    """As `fork_states`, for states that lie anywhere: several in a frame, say.

    Starts are `(n,)` int64 host tensors of bytes, multiples of 16; strides are not looked at.
    """
    _check_sides(dst, dst_layout, src, src_layout)
    to = _checked_starts("dst_starts", dst_starts, dst_layout, dst)
    came = _checked_starts("src_starts", src_starts, src_layout, src)
    check_same_length(dst_starts=to, src_starts=came)
    _fork(_End(dst, dst_layout, to), _End(src, src_layout, came), tile)


class _End(NamedTuple):
    """One side of a fork: states of a layout, by the bytes where they start."""

    arena: torch.Tensor
    layout: StateLayout
    starts: Column


def _check_sides(
    dst: torch.Tensor, dst_layout: StateLayout, src: torch.Tensor, src_layout: StateLayout
) -> None:
    check_same_device("dst", dst, "src", src)
    check_runnable(dst.device)
    check_arena("dst", dst)
    check_arena("src", src)
    check_state_layout("dst_layout", dst_layout)
    check_state_layout("src_layout", src_layout)
    check_same_parts(dst_layout, src_layout)


def _fork(to_end: _End, came_end: _End, tile: ForkTile) -> None:
    """Both ends are checked, but not against each other."""
    dst, dst_layout, to = to_end
    src, src_layout, came = came_end
    if not to.size:
        return
    written = check_writes_apart(dst.data_ptr() + to, np.full_like(to, dst_layout.end))
    check_reads_apart(written, src.data_ptr() + came, np.full_like(came, src_layout.end))
    steps = [
        step
        for new, old in zip(dst_layout.parts, src_layout.parts, strict=True)
        for step in _steps(new, old)
    ]
    conversions = tuple(sorted({step.conversion for step in steps}))
    tables = [_columns(step, conversions.index(step.conversion), to, came, tile) for step in steps]
    columns = [np.concatenate(parts) for parts in zip(*tables, strict=True)]
    launch(
        fork_pieces,
        columns[0].size,
        dst.device,
        dst,
        src,
        upload(columns, dst.device),
        CONVERSIONS=conversions,
        BLOCKS=tile.blocks,
    )


class _Side(NamedTuple):
    """One end of a step, in bytes."""

    offset: int
    scales: int
    unit_bytes: int
    """Bytes of the step's unit on this side."""


class _Step(NamedTuple):
    """Something of every state that is moved in one way."""

    conversion: tuple[int, int]
    units: int
    """Of 16 elements, or of 16 bytes where they stay as they are."""
    dst: _Side
    src: _Side


def _steps(new: Part, old: Part) -> list[_Step]:
    """A part that changes its format is one step; otherwise its elements and scales are copied."""
    if new.format != old.format:
        sides = [
            _Side(part.offset, part.scales or 0, part.format.itemsize * ELEMENTS_UNIT)
            for part in (new, old)
        ]
        conversion = (int(old.format), int(new.format))
        return [_Step(conversion, new.elements // ELEMENTS_UNIT, *sides)]
    return [
        _Step(COPY, (end - to) // ALIGN, _Side(to, 0, ALIGN), _Side(came, 0, ALIGN))
        for (to, end), (came, _) in zip(new.ranges, old.ranges, strict=True)
    ]


def _columns(
    step: _Step, kind: int, to: Column, came: Column, tile: ForkTile
) -> tuple[Column, ...]:
    """One step of all states as the kernel reads it: six columns, a row a piece."""
    pieces = cut(np.full_like(to, step.units), tile.piece_blocks * UNITS_A_BLOCK)
    columns = [np.full_like(pieces.within, kind), pieces.length]
    scales = pieces.within // UNITS_A_BLOCK * SCALE_BYTES
    for slots, side in ((to, step.dst), (came, step.src)):
        start = slots[pieces.extent]
        columns.append((start + side.offset + pieces.within * side.unit_bytes) // ALIGN)
        columns.append((start + side.scales + scales) // ALIGN)
    return tuple(columns)


def _checked_slots(
    name: str, slots: torch.Tensor, layout: StateLayout, arena: torch.Tensor
) -> Column:
    column = host_column(name, slots)
    check_ids(name, column, layout.slots_in(arena.numel()))
    return column


def _checked_starts(
    name: str, starts: torch.Tensor, layout: StateLayout, arena: torch.Tensor
) -> Column:
    lengths = np.full(starts.numel(), layout.end, np.int64)
    return checked_offsets(f"{name}:", arena, starts, lengths)
