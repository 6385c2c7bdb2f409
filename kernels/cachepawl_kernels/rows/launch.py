"""Releasing rows: what they named points at the sink afterwards, in one launch.

A free needs nothing from the device: which page is whose is the host's to say.  But a released
row goes on naming its pages, and whoever still reads it with an old length reads the KV of the
pages' next owner, which looks like an answer.  After this it reads the sink, always.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import check_ids, check_same_length, host_column, refuse_first
from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.extents import check_writes_apart, cut
from cachepawl_kernels.launching import launch, upload
from cachepawl_kernels.rows.kernel import reset_stretches


class RowsTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    block_tokens: int = 1024
    # 4 KiB of int32 ids a program: a row of 4k tokens is four programs.


def release_rows(
    table: torch.Tensor,
    rows: torch.Tensor,
    starts: torch.Tensor,
    stops: torch.Tensor,
    sink: int = 0,
    *,
    tile: RowsTile = RowsTile(),  # noqa: B008 - immutable
) -> None:
    """`table[rows[i], starts[i]:stops[i]] = sink` for every i.

    `table` is `(rows, width)` int32 or int64, each row contiguous.  The columns are `(n,)` int64
    host tensors; `0 <= starts < stops <= width`; no element is released twice.

    On the current stream, one launch, no synchronisation; n = 0 launches nothing.  Host cost
    O(n log n + stretches of 1024 tokens); 16 bytes go up a stretch.  KernelArgumentError
    otherwise.
    """
    check_runnable(table.device)
    _check_table(table, sink)
    row, start, stop = (
        host_column(name, column)
        for name, column in (("rows", rows), ("starts", starts), ("stops", stops))
    )
    check_same_length(rows=row, starts=start, stops=stop)
    count, width = table.shape
    check_ids("rows", row, count)
    refuse_first(
        (start < 0) | (stop <= start) | (stop > width),
        lambda i: f"row {row[i]}: tokens [{start[i]}, {stop[i]}) of a row of {width} tokens",
    )
    if not row.size:
        return
    begin, lengths = row * table.stride(0) + start, stop - start
    check_writes_apart(begin, lengths)
    pieces = cut(lengths, tile.block_tokens)
    launch(
        reset_stretches,
        pieces.length.size,
        table.device,
        table,
        upload((begin[pieces.extent] + pieces.within, pieces.length), table.device),
        sink,
        BLOCK=tile.block_tokens,
    )


def _check_table(table: torch.Tensor, sink: int) -> None:
    if table.dtype not in (torch.int32, torch.int64):
        raise KernelArgumentError(
            f"table has dtype {table.dtype}; token ids are torch.int32 or torch.int64"
        )
    if table.dim() != 2 or table.stride(1) != 1 or table.stride(0) < table.shape[1]:
        raise KernelArgumentError(
            f"table has shape {tuple(table.shape)} and strides {table.stride()}; "
            f"it must be rows of contiguous ids"
        )
    if not 0 <= sink <= torch.iinfo(table.dtype).max:
        raise KernelArgumentError(
            f"sink is {sink}; an id of {table.dtype} is in [0, {torch.iinfo(table.dtype).max}]"
        )
