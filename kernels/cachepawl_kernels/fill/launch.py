"""Zeroing and poisoning byte extents of different lengths in one launch."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import ALIGN, as_words, check_arena
from cachepawl_kernels.extents import check_extents, check_writes_apart, cut
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
    check_arena("arena", arena)
    check_extents("arena", arena, offsets, lengths)
    if lengths.numel() == 0:
        return
    check_writes_apart(offsets, lengths)
    pieces = cut(lengths, tile.piece_bytes)
    table = torch.stack((offsets[pieces.extent] + pieces.within, pieces.length), dim=1)
    launch(
        fill_pieces,
        table.shape[0],
        arena.device,
        as_words(arena),
        upload(table // ALIGN, arena.device),
        WORD=word,
        BLOCK=tile.block_words,
    )
