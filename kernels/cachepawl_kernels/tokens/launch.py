"""Page runs of a batch of rows as token ids, in one launch."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.devices import check_runnable
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.extents import cut
from cachepawl_kernels.launching import launch, upload
from cachepawl_kernels.tokens.batch import RowRuns, checked_batch, stretches_of
from cachepawl_kernels.tokens.kernel import write_stretches


class TokensTile(NamedTuple):
    """How the work is divided.  Tests make it small; nobody else needs to."""

    block_tokens: int = 1024
    # 8 KiB of ids a program: a prefill of 4k tokens is four programs, a decode step of one token
    # a row one short program a row.


def write_token_ids(
    out: torch.Tensor,
    batch: RowRuns,
    page_tokens: int,
    num_pages: int,
    *,
    tile: TokensTile = TokensTile(),  # noqa: B008 - immutable
) -> None:
    """Write row after row the token ids of every row's window, densely, into `out`.

    `out` is `(sum of stops - starts,)` int64, contiguous; token t of page p has id
    `p * page_tokens + t`.  `num_pages` is how many pages there are, the limit of the check.

    On the current stream, one launch, no synchronisation; no tokens, no launch.  Host cost
    O(runs + stretches of 1024 tokens); 24 bytes go up a stretch.  KernelArgumentError otherwise.
    """
    check_runnable(out.device)
    columns = checked_batch(batch, page_tokens, num_pages)
    total = int((columns.stops - columns.starts).sum())
    if out.dtype != torch.int64 or out.dim() != 1 or not out.is_contiguous():
        raise KernelArgumentError(
            f"out has dtype {out.dtype}, shape {tuple(out.shape)} and strides {out.stride()}; "
            f"it must be one contiguous dimension of torch.int64"
        )
    if out.numel() != total:
        raise KernelArgumentError(f"out has {out.numel()} elements for {total} tokens")
    if total == 0:
        return
    whole = stretches_of(columns, page_tokens)
    pieces = cut(whole.tokens, tile.block_tokens)
    table = (
        whole.places[pieces.extent] + pieces.within,
        whole.first_ids[pieces.extent] + pieces.within,
        pieces.length,
    )
    launch(
        write_stretches,
        pieces.length.size,
        out.device,
        out,
        upload(table, out.device),
        BLOCK=tile.block_tokens,
    )
