"""Releasing rows."""

from __future__ import annotations

import pytest
import torch
from arenas import column, vast
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.rows.launch import RowsTile, release_rows
from cachepawl_kernels.rows.reference import release_rows_reference


def table_of(device: torch.device, dtype: torch.dtype, rows: int = 7) -> torch.Tensor:
    """Rows of 50 ids at a stride of 53: what lies between them belongs to nobody."""
    return torch.arange(1, rows * 53 + 1, dtype=dtype, device=device).view(rows, 53)


@given(
    data=st.data(),
    dtype=st.sampled_from([torch.int32, torch.int64]),
    sink=st.sampled_from([0, 1, 40]),
    block=st.sampled_from([8, 64]),
)
def test_any_rows(
    device: torch.device, data: st.DataObject, dtype: torch.dtype, sink: int, block: int
) -> None:
    chosen = data.draw(st.lists(st.integers(0, 6), unique=True))
    spans = [
        sorted(data.draw(st.lists(st.integers(0, 50), min_size=2, max_size=2, unique=True)))
        for _ in chosen
    ]
    columns = (column(*chosen), column(*(a for a, _ in spans)), column(*(b for _, b in spans)))
    ours, reference = table_of(device, dtype), table_of(device, dtype)
    release_rows(ours[:, :50], *columns, sink, tile=RowsTile(block))
    release_rows_reference(reference[:, :50], *columns, sink)
    assert torch.equal(ours, reference)


def test_two_stretches_of_one_row(device: torch.device, guard: object) -> None:
    ours, reference = (table_of(device, torch.int32) for _ in range(2))
    columns = (column(3, 3), column(0, 20), column(20, 22))
    release_rows(ours, *columns)
    release_rows_reference(reference, *columns, 0)
    assert torch.equal(ours, reference)
    assert guard is None or guard.launches == 1  # type: ignore[attr-defined]


def test_a_table_beyond_32_bits(device: torch.device) -> None:
    table = vast(5 * 2**32, device).view(torch.int32).view(5, 2**30)
    table[4, :8] = 9
    release_rows(table, column(4), column(2), column(5), sink=3)
    assert table[4, :8].tolist() == [9, 9, 3, 3, 3, 9, 9, 9]


@pytest.mark.parametrize(
    ("rows", "starts", "stops", "sink", "message"),
    [
        ([7], [0], [5], 0, r"rows\[0\] is 7; ids are in \[0, 7\)"),
        ([-1], [0], [5], 0, r"rows\[0\] is -1"),
        ([2], [-1], [5], 0, r"row 2: tokens \[-1, 5\) of a row of 53 tokens"),
        ([2], [5], [5], 0, r"row 2: tokens \[5, 5\)"),
        ([2], [0], [54], 0, r"row 2: tokens \[0, 54\) of a row of 53 tokens"),
        ([2, 2], [0, 4], [5, 9], 0, "extents 0 and 1 are written over each other: 1 "),
        ([2], [0], [5], -1, "sink is -1"),
        ([2], [0], [5], 2**31, "sink is 2147483648"),
        ([2, 3], [0], [5], 0, "rows 2, starts 1, stops 1"),
    ],
)
def test_refusals(
    device: torch.device, rows: list[int], starts: list[int], stops: list[int], sink: int,
    message: str,
) -> None:  # fmt: skip
    table = table_of(device, torch.int32)
    with pytest.raises(KernelArgumentError, match=message):
        release_rows(table, column(*rows), column(*starts), column(*stops), sink)
    assert torch.equal(table, table_of(device, torch.int32))


def test_refused_tables(device: torch.device) -> None:
    table = table_of(device, torch.int32)
    for bad, message in (
        (table.short(), "table has dtype torch.int16"),
        (table.t(), "it must be rows of contiguous ids"),
        (table[0], "it must be rows of contiguous ids"),
        (table[:1].expand(7, 53), "it must be rows of contiguous ids"),
    ):
        with pytest.raises(KernelArgumentError, match=message):
            release_rows(bad, column(1), column(0), column(1))
