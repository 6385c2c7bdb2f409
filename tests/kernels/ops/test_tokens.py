"""Token ids of page runs."""

from __future__ import annotations

import pytest
import torch
from arenas import column
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.tokens.batch import RowRuns
from cachepawl_kernels.tokens.launch import TokensTile, write_token_ids
from cachepawl_kernels.tokens.reference import token_ids_reference

POISON = -77
USED = TokensTile()
Row = tuple[list[tuple[int, int]], int, int]
RUNS = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 5)), max_size=4)


def batch_of(rows: list[Row]) -> RowRuns:
    """Rows of (runs, start, stop)."""
    runs = [run for row in rows for run in row[0]]
    ends = torch.tensor([len(row[0]) for row in rows], dtype=torch.int64).cumsum(0)
    return RowRuns(
        column(*(first for first, _ in runs)), column(*(count for _, count in runs)), ends,
        column(*(row[1] for row in rows)), column(*(row[2] for row in rows)),
    )  # fmt: skip


def ids_of(
    device: torch.device,
    batch: RowRuns,
    page: int,
    tile: TokensTile = USED,
    pages: int = 96,
) -> torch.Tensor:
    """What is written, between two zones that must stay poisoned."""
    total = int((batch.stops - batch.starts).sum())
    whole = torch.full((total + 64,), POISON, dtype=torch.int64, device=device)
    write_token_ids(whole[32 : 32 + total], batch, page, pages, tile=tile)
    assert (whole[:32] == POISON).all()
    assert (whole[32 + total :] == POISON).all()
    return whole[32 : 32 + total].cpu()


@given(data=st.data())
def test_any_batch(device: torch.device, data: st.DataObject) -> None:
    page = data.draw(st.sampled_from([1, 3, 16]))
    rows: list[Row] = []
    for runs in data.draw(st.lists(RUNS, max_size=5)):
        held = page * sum(count for _, count in runs)
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, held)] * 2)))
        rows.append((runs, start, stop))
    batch = batch_of(rows)
    tile = TokensTile(data.draw(st.sampled_from([8, 32])))
    assert torch.equal(ids_of(device, batch, page, tile), token_ids_reference(batch, page))


def test_a_window_inside_one_run(device: torch.device) -> None:
    batch = batch_of([([(7, 3), (20, 2)], 5, 14), ([], 0, 0), ([(4, 1)], 0, 4)])
    ids = ids_of(device, batch, 4).tolist()
    assert ids == [33, 34, 35, 36, 37, 38, 39, 80, 81, 16, 17, 18, 19]


def test_ids_beyond_32_bits(device: torch.device) -> None:
    batch = batch_of([([(2**31, 1)], 3, 5)])
    ids = ids_of(device, batch, 16, pages=2**31 + 1)
    assert ids.tolist() == [2**35 + 3, 2**35 + 4]


def test_the_tile_that_is_used(device: torch.device, guard: object) -> None:
    batch = batch_of([([(3, 50), (60, 3)], 10, 3200), ([(1, 1)], 0, 1)])
    assert torch.equal(ids_of(device, batch, 64), token_ids_reference(batch, 64))
    assert guard is None or guard.launches == 1  # type: ignore[attr-defined]


def test_no_tokens_launch_nothing(device: torch.device, guard: object) -> None:
    assert ids_of(device, batch_of([([(1, 2)], 2, 2)]), 4).numel() == 0
    assert ids_of(device, batch_of([]), 4).numel() == 0
    assert guard is None or guard.launches == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pages": column(94, 5)}, r"run 0 is 3 pages from page 94; pages are in \[0, 96\)"),
        ({"pages": column(-1, 5)}, r"run 0 is 3 pages from page -1"),
        ({"pages": column(2**63 - 1, 5)}, r"run 0 is 3 pages from page 9223372036854775807"),
        ({"counts": column(3, 0)}, "run 1 has 0 pages; at least 1"),
        ({"counts": column(3)}, "pages 2, counts 1"),
        ({"row_ends": column(2, 1)}, r"row_ends\[1\] is 1, below the one before it"),
        ({"row_ends": column(1, 1)}, "row_ends end at run 1; there are 2 runs"),
        ({"starts": column(0, -1)}, r"row 1: tokens \[-1, 8\) of a row of 8 tokens"),
        ({"starts": column(7, 0)}, r"row 0: tokens \[7, 6\) of a row of 12 tokens"),
        ({"stops": column(6, 9)}, r"row 1: tokens \[0, 9\) of a row of 8 tokens"),
        ({"stops": column(6, 8).int()}, "stops has dtype torch.int32"),
    ],
)
def test_refusals(device: torch.device, change: dict[str, torch.Tensor], message: str) -> None:
    good = batch_of([([(10, 3)], 2, 6), ([(5, 2)], 0, 8)])
    out = torch.full((12,), POISON, dtype=torch.int64, device=device)
    with pytest.raises(KernelArgumentError, match=message):
        write_token_ids(out, good._replace(**change), 4, 96)
    assert (out == POISON).all()


def test_refused_outputs(device: torch.device) -> None:
    batch = batch_of([([(10, 3)], 2, 6)])
    out = torch.zeros(8, dtype=torch.int64, device=device)
    for bad, message in (
        (out, "out has 8 elements for 4 tokens"),
        (out[:4].int(), "out has dtype torch.int32"),
        (out[::2], r"strides \(2,\)"),
    ):
        with pytest.raises(KernelArgumentError, match=message):
            write_token_ids(bad, batch, 4, 96)
    with pytest.raises(KernelArgumentError, match="do not fit 64 bits"):
        write_token_ids(out[:4], batch, 4, 2**61)
    with pytest.raises(KernelArgumentError, match="page_tokens is 0"):
        write_token_ids(out[:4], batch, 0, 96)
