"""Moving units between arenas by ids."""

from __future__ import annotations

import pytest
import torch
from arenas import assert_same, column, fenced, twin, unchanged_by, vast
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.transfer.launch import TransferTile, gather, scatter, transfer
from cachepawl_kernels.transfer.layout import UnitLayout, dense
from cachepawl_kernels.transfer.reference import transfer_reference, units_of

GIB = 2**30
UNITS = st.integers(0, 3).map(lambda n: n * 16)


@st.composite
def layouts(draw: st.DrawFn, rows: int, row_bytes: int) -> UnitLayout:
    row_stride = row_bytes + draw(UNITS)
    base = draw(UNITS)
    end = base + (rows - 1) * row_stride + row_bytes
    return UnitLayout(end + draw(UNITS), row_bytes, rows, row_stride, base)


@given(data=st.data())
def test_any_layouts(device: torch.device, data: st.DataObject) -> None:
    rows, row_bytes = data.draw(st.integers(1, 5)), 16 * data.draw(st.integers(1, 20))
    to, came = data.draw(layouts(rows, row_bytes)), data.draw(layouts(rows, row_bytes))
    target, source = fenced(6 * to.stride, device), fenced(9 * came.stride, device, seed=1)
    n = data.draw(st.integers(0, 6))
    ids = [
        column(*data.draw(st.permutations(range(6)))[:n]),
        column(*data.draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))),
    ]
    reference = twin(target)
    tile = TransferTile(data.draw(st.sampled_from([16, 64, 256])))
    transfer(target.arena, to, ids[0], source.arena, came, ids[1], tile=tile)
    transfer_reference(reference.arena, to, ids[0], source.arena, came, ids[1])
    assert_same(target, reference)


LAYER = UnitLayout(stride=16 * 1024, row_bytes=256, rows=16, row_stride=1024, base=512)
"""K and V of layer 2 of 4, pages of 16 tokens."""


def test_a_layer_of_pages_goes_out_and_comes_back(device: torch.device, guard: object) -> None:
    arena, staging = fenced(8 * LAYER.stride, device), fenced(3 * 4096, device, seed=1)
    before, ids = twin(arena), column(6, 1, 4)
    gather(staging.arena, arena.arena, LAYER, ids)
    packed = staging.arena.view(3, 16, 256)
    assert torch.equal(packed, units_of(arena.arena, LAYER)[ids.to(device)])
    units_of(arena.arena, LAYER)[ids.to(device)] = 0
    scatter(arena.arena, LAYER, ids, staging.arena)
    assert_same(arena, before)
    assert guard is None or guard.launches == 2  # type: ignore[attr-defined]


def test_the_tile_that_is_used_on_a_large_unit(device: torch.device) -> None:
    state = UnitLayout(stride=150_016, row_bytes=140_000)
    arena, staging = fenced(3 * state.stride, device), fenced(2 * 140_000, device, seed=1)
    gather(staging.arena, arena.arena, state, column(2, 0))
    assert torch.equal(staging.arena[:140_000], arena.arena[2 * 150_016 :][:140_000])
    assert torch.equal(staging.arena[140_000:], arena.arena[:140_000])


def test_a_unit_beyond_32_bits(device: torch.device) -> None:
    arena = vast(20 * GIB, device)
    layout = UnitLayout(stride=2 * GIB, row_bytes=64, rows=2, row_stride=GIB, base=GIB // 2)
    units_of(arena, layout)[9] = 5
    staging = fenced(128, device)
    gather(staging.arena, arena, layout, column(9))
    assert (staging.arena == 5).all()
    staging.arena[:] = 6
    scatter(arena, layout, column(9), staging.arena)
    assert (units_of(arena, layout)[9] == 6).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": [8]}, r"dst_ids\[0\] is 8; ids are in \[0, 8\)"),
        ({"ids": [-1]}, r"dst_ids\[0\] is -1"),
        ({"ids": [2, 2]}, r"dst_ids\[0\] and dst_ids\[1\] are both 2"),
        ({"ids": [1, 2, 3, 4]}, r"src_ids\[3\] is 3; ids are in \[0, 3\)"),
        ({"row_bytes": 24}, r"dst_layout.row_bytes is 24; it must be a multiple of 16"),
        ({"row_bytes": 0}, r"dst_layout.row_bytes is 0; it must be at least 1"),
        ({"rows": -1}, r"dst_layout.rows is -1; it must be at least 1"),
        ({"base": -16}, r"dst_layout.base is -16"),
        ({"row_stride": 128}, r"dst_layout.row_stride is 128; rows of 256 bytes would overlap"),
        ({"rows": 17}, r"a unit's rows end at byte 17152, its stride is 16384"),
    ],
)
def test_refusals(device: torch.device, change: dict[str, object], message: str) -> None:
    arena, staging = fenced(8 * LAYER.stride, device), fenced(3 * 4096, device)
    ids = column(*change.pop("ids", [1]))  # type: ignore[misc]
    layout = LAYER._replace(**change)
    with pytest.raises(KernelArgumentError, match=message):
        unchanged_by(arena, lambda: scatter(arena.arena, layout, ids, staging.arena))


def test_refusals_of_two_sides(device: torch.device) -> None:
    arena = fenced(8 * LAYER.stride, device).arena
    with pytest.raises(KernelArgumentError, match="dst and src share 4096 bytes"):
        gather(arena[:4096], arena, LAYER, column(1))
    other = fenced(4096, device).arena
    with pytest.raises(KernelArgumentError, match="dst_layout has 16 rows of 128 bytes"):
        transfer(other, dense(16, 128), column(0), arena, LAYER, column(0))
    with pytest.raises(KernelArgumentError, match="dst_ids 2, src_ids 1"):
        transfer(other, dense(1, 16), column(0, 1), arena, dense(1, 16), column(0))
