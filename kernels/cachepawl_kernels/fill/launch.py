"""Zeroing and poisoning byte extents of different lengths in one launch."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import ALIGN, as_words, check_arena
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.extents import check_writes_apart, checked_offsets, cut, lengths_column
from cachepawl_kernels.fill.kernel import fill_pieces
from cachepawl_kernels.launching import launch, upload

POISON_BYTE = 0xFF
"""NaN in every floating-point format that a cache is kept in, and -1 as an integer."""


class FillTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    block_words: int = 2048
    # As in a copy: eight 16-byte stores a lane and step, four steps a program.
    piece_bytes: int = 64 * 1024


def zero_extents(
    arena: torch.Tensor,
    offsets: torch.Tensor,
    lengths: torch.Tensor,
    *,
    tile: FillTile = FillTile(),  # noqa: B008 - immutable
) -> None:
    """`arena[offsets[i] : + lengths[i]] = 0` for every i.

    `arena` is `(bytes,)` uint8, contiguous, 16-byte aligned; the columns are `(n,)` int64 host
    tensors, all values multiples of 16; extents do not overlap.

    On the current stream, one launch, no synchronisation; n = 0 launches nothing.  Host cost
    O(n log n + pieces of 64 KiB); 16 bytes go up a piece.  KernelArgumentError otherwise.
    """
    _fill(arena, offsets, lengths, 0, tile)


def poison_extents(
    arena: torch.Tensor,
    offsets: torch.Tensor,
    lengths: torch.Tensor,
    *,
    tile: FillTile = FillTile(),  # noqa: B008 - immutable
) -> None:
    """Fill extents with `POISON_BYTE`, so that whoever reads what was released reads NaN.

    Arguments, cost and errors as in `zero_extents`.
    """
    _fill(arena, offsets, lengths, -1, tile)


def _fill(
    arena: torch.Tensor, offsets: torch.Tensor, lengths: torch.Tensor, word: int, tile: FillTile
) -> None:
    check_runnable(arena.device)
    check_arena("arena", arena)
    sizes = lengths_column(lengths)
    to = checked_offsets("arena", arena, offsets, sizes)
    if not sizes.size:
        return
    check_writes_apart(to, sizes)
    pieces = cut(sizes, tile.piece_bytes)
    columns = ((to[pieces.extent] + pieces.within) // ALIGN, pieces.length // ALIGN)
    launch(
        fill_pieces,
        pieces.length.size,
        arena.device,
        as_words(arena),
        upload(columns, arena.device),
        WORD=word,
        BLOCK=tile.block_words,
    )
