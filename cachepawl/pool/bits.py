"""Runs of set bits in a Python int: a frame's pages as one number.

An int of a few hundred bits is a page bitmap whose every operation is a handful of
machine words, so the allocator needs no arrays.
"""

from __future__ import annotations


def ones(count: int, at: int = 0) -> int:
    """`count` set bits starting at bit `at`."""
    return ((1 << count) - 1) << at


def first_run(mask: int, count: int) -> int:
    """The lowest bit where `count` set bits start, or -1.  O(log count) big-int steps."""
    width = 1
    while width < count and mask:
        step = min(width, count - width)
        mask &= mask >> step
        width += step
    return (mask & -mask).bit_length() - 1


def run_length(mask: int, at: int) -> int:
    """How many set bits follow each other from bit `at` on."""
    above = mask >> at
    return (~above & (above + 1)).bit_length() - 1


def lowest_run(mask: int) -> tuple[int, int]:
    """`(first bit, length)` of the lowest run; the mask must not be 0."""
    first = (mask & -mask).bit_length() - 1
    return first, run_length(mask, first)
