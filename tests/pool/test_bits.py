"""Bit runs against loops over single bits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.pool.bits import first_run, lowest_run, ones, run_length

WIDTH = 12
SETTINGS = settings(derandomize=True, deadline=None, max_examples=300, database=None)
LONG = st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=8).map(
    lambda parts: int("".join(str(int(bit)) * n for bit, n in parts) or "0", 2)
)


def is_set(mask: int, bit: int) -> bool:
    return bool(mask >> bit & 1)


def naive_run_length(mask: int, at: int) -> int:
    length = 0
    while is_set(mask, at + length):
        length += 1
    return length


def naive_first_run(mask: int, count: int) -> int:
    starts = range(mask.bit_length())
    return next((at for at in starts if naive_run_length(mask, at) >= count), -1)


def test_every_short_mask() -> None:
    for mask in range(1 << WIDTH):
        for at in range(WIDTH + 1):
            assert run_length(mask, at) == naive_run_length(mask, at)
        for count in range(1, WIDTH + 2):
            assert first_run(mask, count) == naive_first_run(mask, count), (bin(mask), count)
        if mask:
            first, length = lowest_run(mask)
            assert (first, length) == (naive_first_run(mask, 1), naive_run_length(mask, first))


@SETTINGS
@given(LONG, st.integers(1, 400), st.integers(0, 500))
def test_masks_longer_than_a_word(mask: int, count: int, at: int) -> None:
    assert first_run(mask, count) == naive_first_run(mask, count)
    assert run_length(mask, at) == naive_run_length(mask, at)
    if mask:
        assert lowest_run(mask)[1] == naive_run_length(mask, lowest_run(mask)[0])


def test_ones() -> None:
    for count in range(70):
        for at in (0, 1, 63, 64):
            assert ones(count, at) == sum(1 << at + i for i in range(count))
