"""Zeroing and poisoning by extents."""

from __future__ import annotations

import pytest
import torch
from arenas import assert_same, column, fenced, twin, unchanged_by, vast
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.fill.launch import FillTile, poison_extents, zero_extents
from cachepawl_kernels.fill.reference import fill_extents_reference

GIB = 2**30


@given(
    lengths=st.lists(st.integers(1, 60).map(lambda n: n * 16), max_size=6),
    gaps=st.lists(st.integers(0, 3).map(lambda n: n * 16), min_size=6, max_size=6),
    zero=st.booleans(),
    block=st.sampled_from([16, 64]),
)
def test_any_extents(
    device: torch.device, lengths: list[int], gaps: list[int], zero: bool, block: int
) -> None:
    starts, at = [], 0
    for length, gap in zip(lengths, gaps, strict=False):
        starts.append(at + gap)
        at += gap + length
    ours = fenced(at + 48, device)
    reference = twin(ours)
    op = zero_extents if zero else poison_extents
    op(ours.arena, column(*starts), column(*lengths), tile=FillTile(block, 256))
    fill_extents_reference(reference.arena, column(*starts), column(*lengths), 0 if zero else 0xFF)
    assert_same(ours, reference)


def test_the_tile_that_is_used(device: torch.device) -> None:
    ours = fenced(200_000, device)
    reference = twin(ours)
    columns = (column(16, 131_072), column(100_000, 48))
    zero_extents(ours.arena, *columns)
    fill_extents_reference(reference.arena, *columns, 0)
    assert_same(ours, reference)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2],
)
def test_poison_is_nan(device: torch.device, dtype: torch.dtype) -> None:
    arena = fenced(64, device).arena
    poison_extents(arena, column(16), column(32))
    assert arena[16:48].view(dtype).float().isnan().all()


def test_offsets_beyond_32_bits(device: torch.device) -> None:
    arena = vast(20 * GIB, device)
    arena[-8192:] = 7
    zero_extents(arena, column(20 * GIB - 4096), column(4096))
    assert int(arena[-4096:].sum()) == 0
    assert (arena[-8192:-4096] == 7).all()


@pytest.mark.parametrize(
    ("offsets", "lengths", "message"),
    [
        ([0], [0], "a length must be at least 1"),
        ([4], [16], "offset 4: both must be multiples of 16"),
        ([1008], [32], "is outside of the arena's 1024 bytes"),
        ([0, 64, 32], [16, 16, 48], "extents 2 and 1 are written over each other: 16 bytes"),
    ],
)
def test_refusals(
    device: torch.device, offsets: list[int], lengths: list[int], message: str
) -> None:
    ours = fenced(1024, device)
    with pytest.raises(KernelArgumentError, match=message):
        unchanged_by(ours, lambda: zero_extents(ours.arena, column(*offsets), column(*lengths)))
