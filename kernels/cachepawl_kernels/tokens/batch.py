"""The page runs of a batch of rows, as columns.

    row 0   (7, 3) (20, 2)     pages 7 8 9 20 21, tokens [0, 5 * page_tokens)
    row 1   (4, 1)             page 4
    pages = [7, 20, 4]   counts = [3, 2, 1]   row_ends = [2, 3]

`starts` and `stops` cut a window of tokens out of every row: what is new in it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import (
    check_column,
    check_positive,
    check_same_length,
    refuse_first,
)
from cachepawl_kernels.errors import KernelArgumentError


class RowRuns(NamedTuple):
    """Int64 host tensors: `(runs,)` pages and counts, `(rows,)` the rest."""

    pages: torch.Tensor
    """First page of a run."""
    counts: torch.Tensor
    """Pages of a run."""
    row_ends: torch.Tensor
    """Where a row's runs end among all runs; never decreasing."""
    starts: torch.Tensor
    """First token of a row's window, from the row's first run on."""
    stops: torch.Tensor
    """The token after the window's last."""


class Stretches(NamedTuple):
    """Consecutive ids: `(stretches,)` int64 each."""

    places: torch.Tensor
    first_ids: torch.Tensor
    tokens: torch.Tensor


def window_starts(batch: RowRuns) -> torch.Tensor:
    """`(rows,)`: where each row's ids start in the dense output."""
    lengths = batch.stops - batch.starts
    return lengths.cumsum(0) - lengths


def stretches_of(batch: RowRuns, page_tokens: int) -> Stretches:
    """What of every run lies in its row's window, empty ones left out; O(runs), no loop."""
    ends = batch.row_ends
    runs_of_row = torch.diff(ends, prepend=ends.new_zeros(1))
    row = torch.repeat_interleave(runs_of_row)
    tokens = batch.counts * page_tokens
    before = tokens.cumsum(0) - tokens
    # Padding: a row without runs may start at the end of all runs.
    first_run = ends - runs_of_row
    origin = torch.cat((before, tokens.sum().reshape(1)))[first_run]
    begin = before - origin[row]
    low = torch.maximum(begin, batch.starts[row])
    high = torch.minimum(begin + tokens, batch.stops[row])
    kept = high > low
    places = window_starts(batch)[row] + low - batch.starts[row]
    first_ids = batch.pages * page_tokens + low - begin
    return Stretches(places[kept], first_ids[kept], (high - low)[kept])


def check_batch(batch: RowRuns, page_tokens: int, num_pages: int) -> None:
    """Runs lie in `[0, num_pages)`; every window lies in its row's tokens."""
    check_positive("page_tokens", page_tokens)
    if num_pages * page_tokens >= 2**63:
        raise KernelArgumentError(
            f"num_pages is {num_pages}: ids of pages of {page_tokens} tokens do not fit 64 bits"
        )
    for name, column in batch._asdict().items():
        check_column(name, column)
    check_same_length(pages=batch.pages, counts=batch.counts)
    check_same_length(row_ends=batch.row_ends, starts=batch.starts, stops=batch.stops)
    _check_runs(batch, num_pages)
    _check_row_ends(batch)
    _check_windows(batch, page_tokens)


def _check_runs(batch: RowRuns, num_pages: int) -> None:
    pages, counts = batch.pages, batch.counts
    refuse_first(counts < 1, lambda i: f"run {i} has {int(counts[i])} pages; at least 1")
    refuse_first(
        (pages < 0) | (counts > num_pages) | (pages > num_pages - counts),
        lambda i: (
            f"run {i} is {int(counts[i])} pages from page {int(pages[i])}; "
            f"pages are in [0, {num_pages})"
        ),
    )


def _check_row_ends(batch: RowRuns) -> None:
    ends, runs = batch.row_ends, batch.pages.numel()
    step = torch.diff(ends, prepend=ends.new_zeros(1))
    refuse_first(step < 0, lambda i: f"row_ends[{i}] is {int(ends[i])}, below the one before it")
    last = int(ends[-1]) if ends.numel() else 0
    if last != runs:
        raise KernelArgumentError(f"row_ends end at run {last}; there are {runs} runs")


def _check_windows(batch: RowRuns, page_tokens: int) -> None:
    through = torch.cat((batch.counts.new_zeros(1), batch.counts.cumsum(0)))
    ends = batch.row_ends
    pages = through[ends] - through[torch.cat((ends.new_zeros(1), ends[:-1]))]
    held = pages * page_tokens
    starts, stops = batch.starts, batch.stops
    refuse_first(
        (starts < 0) | (stops < starts) | (stops > held),
        lambda i: (
            f"row {i}: tokens [{int(starts[i])}, {int(stops[i])}) of a row of {int(held[i])} tokens"
        ),
    )
