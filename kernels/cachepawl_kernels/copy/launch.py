"""Copying byte extents of different lengths in one launch."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import ALIGN, as_words, check_arena, common_device
from cachepawl_kernels.copy.kernel import copy_pieces
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.extents import (
    check_reads_apart,
    check_writes_apart,
    checked_offsets,
    cut,
    lengths_column,
)
from cachepawl_kernels.launching import launch, upload


class CopyTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    block_words: int = 2048
    # 2048 words of 8 bytes over 4 warps of 32 lanes: eight 16-byte loads in flight a lane, and
    # 16 KiB a program, so two programs on a multiprocessor cover the latency of HBM.
    piece_bytes: int = 64 * 1024
    # Four steps a program: a state of 72 MiB is 1152 programs, several on every multiprocessor,
    # and its table 27 KiB.


def copy_extents(
    dst: torch.Tensor,
    dst_offsets: torch.Tensor,
    src: torch.Tensor,
    src_offsets: torch.Tensor,
    lengths: torch.Tensor,
    *,
    tile: CopyTile = CopyTile(),  # noqa: B008 - immutable
) -> None:
    """`dst[dst_offsets[i] : + lengths[i]] = src[src_offsets[i] : + lengths[i]]` for every i.

    `dst` and `src` are `(bytes,)` uint8, contiguous, 16-byte aligned, on one device or one of
    them in pinned host memory; they may be the same arena.  The columns are `(n,)` int64 host
    tensors, all values multiples of 16.  No written byte may be written twice or read; sources
    may overlap each other.

    On the current stream, one launch, no synchronisation; n = 0 launches nothing.  Host cost
    O(n log n + pieces of 64 KiB); 24 bytes go up a piece.  KernelArgumentError otherwise.
    """
    device = common_device("dst", dst, "src", src)
    check_runnable(device)
    check_arena("dst", dst)
    check_arena("src", src)
    sizes = lengths_column(lengths)
    to = checked_offsets("dst", dst, dst_offsets, sizes)
    came = checked_offsets("src", src, src_offsets, sizes)
    if not sizes.size:
        return
    written = check_writes_apart(to + dst.data_ptr(), sizes)
    check_reads_apart(written, came + src.data_ptr(), sizes)
    pieces = cut(sizes, tile.piece_bytes)
    columns = (
        (to[pieces.extent] + pieces.within) // ALIGN,
        (came[pieces.extent] + pieces.within) // ALIGN,
        pieces.length // ALIGN,
    )
    launch(
        copy_pieces,
        pieces.length.size,
        device,
        as_words(dst),
        as_words(src),
        upload(columns, device),
        BLOCK=tile.block_words,
    )
