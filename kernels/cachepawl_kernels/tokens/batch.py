"""The page runs of a batch of rows, as columns.

    row 0   (7, 3) (20, 2)     pages 7 8 9 20 21, tokens [0, 5 * page_tokens)
    row 1   (4, 1)             page 4
    pages = [7, 20, 4]   counts = [3, 2, 1]   row_ends = [2, 3]

`starts` and `stops` cut a window of tokens out of every row: what is new in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from cachepawl_kernels.arguments import (
    Column,
    check_positive,
    check_same_length,
    host_column,
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


class Columns(NamedTuple):
    """The same as arrays."""

    pages: Column
    counts: Column
    row_ends: Column
    starts: Column
    stops: Column


class Stretches(NamedTuple):
    """Consecutive ids: `(stretches,)` each."""

    places: Column
    first_ids: Column
    tokens: Column


ZERO = np.zeros(1, np.int64)


def stretches_of(batch: Columns, page_tokens: int) -> Stretches:
    """What of every run lies in its row's window, empty ones left out; O(runs), no loop."""
    ends = batch.row_ends
    runs_of_row = np.diff(ends, prepend=0)
    row = np.arange(ends.size).repeat(runs_of_row)
    before = np.concatenate((ZERO, (batch.counts * page_tokens).cumsum()))
    # The tokens of the runs before a row's first, which may be the end of all runs.
    origin = before[ends - runs_of_row]
    begin = before[:-1] - origin[row]
    starts = batch.starts[row]
    low = np.maximum(begin, starts)
    high = np.minimum(begin + batch.counts * page_tokens, batch.stops[row])
    tokens = high - low
    lengths = batch.stops - batch.starts
    places = (lengths.cumsum() - lengths)[row] + low - starts
    first_ids = batch.pages * page_tokens + low - begin
    kept = tokens > 0
    return Stretches(places[kept], first_ids[kept], tokens[kept])


def checked_batch(batch: RowRuns, page_tokens: int, num_pages: int) -> Columns:
    """Runs lie in `[0, num_pages)`; every window lies in its row's tokens."""
    check_positive("page_tokens", page_tokens)
    if num_pages * page_tokens >= 2**63:
        raise KernelArgumentError(
            f"num_pages is {num_pages}: ids of pages of {page_tokens} tokens do not fit 64 bits"
        )
    found = Columns(*(host_column(name, column) for name, column in batch._asdict().items()))
    check_same_length(pages=found.pages, counts=found.counts)
    check_same_length(row_ends=found.row_ends, starts=found.starts, stops=found.stops)
    _check_runs(found, num_pages)
    _check_row_ends(found)
    _check_windows(found, page_tokens)
    return found


def _check_runs(batch: Columns, num_pages: int) -> None:
    pages, counts = batch.pages, batch.counts
    refuse_first(counts < 1, lambda i: f"run {i} has {counts[i]} pages; at least 1")
    refuse_first(
        (pages < 0) | (counts > num_pages) | (pages > num_pages - counts),
        lambda i: (
            f"run {i} is {counts[i]} pages from page {pages[i]}; pages are in [0, {num_pages})"
        ),
    )


def _check_row_ends(batch: Columns) -> None:
    ends, runs = batch.row_ends, batch.pages.size
    refuse_first(
        np.diff(ends, prepend=0) < 0,
        lambda i: f"row_ends[{i}] is {ends[i]}, below the one before it",
    )
    last = int(ends[-1]) if ends.size else 0
    if last != runs:
        raise KernelArgumentError(f"row_ends end at run {last}; there are {runs} runs")


def _check_windows(batch: Columns, page_tokens: int) -> None:
    through = np.concatenate((ZERO, batch.counts.cumsum()))[batch.row_ends]
    held = np.diff(through, prepend=0) * page_tokens
    starts, stops = batch.starts, batch.stops
    refuse_first(
        (starts < 0) | (stops < starts) | (stops > held),
        lambda i: f"row {i}: tokens [{starts[i]}, {stops[i]}) of a row of {held[i]} tokens",
    )
