"""Cutting extents, and refusing those that a launch could not serve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.arguments import Column
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.extents import check_reads_apart, check_writes_apart, checked_offsets, cut


def array(*values: int) -> Column:
    return np.array(values, np.int64)


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), min_size=1, max_size=8)


@given(lengths=st.lists(st.integers(1, 50), max_size=10), most=st.integers(1, 20))
def test_pieces_cover_every_extent_once(lengths: list[int], most: int) -> None:
    pieces = cut(array(*lengths), most)
    covered = [
        (extent, at)
        for extent, within, length in zip(*(part.tolist() for part in pieces), strict=True)
        for at in range(within, within + length)
    ]
    assert covered == [(i, at) for i, length in enumerate(lengths) for at in range(length)]
    assert all(0 < length <= most for length in pieces.length.tolist())
    assert all(within % most == 0 for within in pieces.within.tolist())


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return bool(set(range(one[0], sum(one))) & set(range(other[0], sum(other))))


@given(writes=RANGES, reads=RANGES)
def test_overlaps_are_found_as_by_comparing_all(
    writes: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    begin, lengths = (array(*part) for part in zip(*writes, strict=True))
    clash = any(overlap(a, b) for i, a in enumerate(writes) for b in writes[:i])
    if clash:
        with pytest.raises(KernelArgumentError, match="are written over each other"):
            check_writes_apart(begin, lengths)
        return
    written = check_writes_apart(begin, lengths)
    read_begin, read_lengths = (array(*part) for part in zip(*reads, strict=True))
    clashes = [(r, w) for r, a in enumerate(reads) for w, b in enumerate(writes) if overlap(a, b)]
    if not clashes:
        check_reads_apart(written, read_begin, read_lengths)
        return
    with pytest.raises(KernelArgumentError) as refused:
        check_reads_apart(written, read_begin, read_lengths)
    assert str(refused.value) in [
        f"source extent {r} overlaps destination extent {w}" for r, w in clashes
    ]


def test_a_state_and_a_thousand_pages_are_few_pieces() -> None:
    lengths = array(72 * 2**20, *[24 * 2**10] * 1000)
    assert cut(lengths, 64 * 1024).length.size == 1152 + 1000


EXTREME = st.sampled_from(
    [-(2**63), -16, -1, 0, 1, 8, 16, 1008, 1024, 1040, 2**62, 2**63 - 16, 2**63 - 1]
)


@given(extents=st.lists(st.tuples(EXTREME, EXTREME), min_size=1, max_size=3))
def test_an_extent_is_refused_as_by_unbounded_numbers(extents: list[tuple[int, int]]) -> None:
    """Nothing wraps on the way: of Python's integers the answers are the same."""
    good = all(
        length >= 1 and begin >= 0 and begin + length <= 1024 and not (begin | length) % 16
        for begin, length in extents
    )
    arena = torch.zeros(1024, dtype=torch.uint8)
    begin, lengths = (array(*part) for part in zip(*extents, strict=True))
    if good:
        assert checked_offsets("dst", arena, torch.from_numpy(begin), lengths).tolist() == [
            at for at, _ in extents
        ]
        return
    with pytest.raises(KernelArgumentError, match="dst extent"):
        checked_offsets("dst", arena, torch.from_numpy(begin), lengths)
