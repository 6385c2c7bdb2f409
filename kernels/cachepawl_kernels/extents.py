"""Byte extents of an arena: checks, and cutting them into pieces of bounded size.

    offsets  |----|      |----------|  |--|        bytes, any number of different lengths
    pieces   |----|      |---|---|--|  |--|        at most one piece long, one program each

Cutting on the host gives every program work: a 72 MiB state and a thousand pages of 24 KiB
share one launch.  A grid of (extents x longest extent) would be a million programs, nearly all
of them empty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from cachepawl_kernels.arguments import ALIGN, Column, host_column, refuse_first
from cachepawl_kernels.errors import KernelArgumentError


class Pieces(NamedTuple):
    """One row a piece, all `(pieces,)`."""

    extent: Column
    """Which extent the piece belongs to."""
    within: Column
    """Where in it the piece starts."""
    length: Column
    """How long it is."""


def cut(lengths: Column, most: int) -> Pieces:
    """Cut every length into pieces of at most `most`; O(pieces), no loop.

    Only the last piece of an extent is shorter than `most`, so that a piece starts on a
    multiple of it.
    """
    number = np.arange(lengths.size)
    counts = (lengths + (most - 1)) // most
    total = int(counts.sum())
    if total == lengths.size:  # every extent is one piece, for its length is at least 1
        return Pieces(number, np.zeros_like(lengths), lengths)
    extent = number.repeat(counts)
    first_piece = counts.cumsum() - counts
    within = (np.arange(total) - first_piece[extent]) * most
    return Pieces(extent, within, np.minimum(lengths[extent] - within, most))


def lengths_column(lengths: torch.Tensor) -> Column:
    """How many bytes every extent has."""
    return host_column("lengths", lengths)


def checked_offsets(
    name: str, arena: torch.Tensor, offsets: torch.Tensor, lengths: Column
) -> Column:
    """Every extent has bytes, starts and ends on `ALIGN` bytes, and lies inside the arena."""
    begin = host_column(f"{name} offsets", offsets)
    if begin.size != lengths.size:
        raise KernelArgumentError(f"{begin.size} {name} offsets for {lengths.size} lengths")
    if begin.size and not _all_inside(arena.numel(), begin, lengths):
        _refuse_extent(name, arena.numel(), begin, lengths)
    return begin


def _all_inside(size: int, begin: Column, lengths: Column) -> bool:
    """What `_refuse_extent` looks for, over all extents at once: a sign bit, or a low one."""
    room = size - lengths  # negative first where what is taken from it could wrap
    signs = begin | (lengths - 1) | room | (room - begin)
    low = int(np.bitwise_or.reduce(begin | lengths)) % ALIGN
    return int(np.bitwise_or.reduce(signs)) >= 0 and not low


def _refuse_extent(name: str, size: int, begin: Column, lengths: Column) -> None:
    def shown(i: int) -> str:
        return f"{name} extent {i} of {lengths[i]} bytes at offset {begin[i]}"

    refuse_first(lengths < 1, lambda i: f"{shown(i)}: a length must be at least 1")
    refuse_first(
        (begin % ALIGN != 0) | (lengths % ALIGN != 0),
        lambda i: f"{shown(i)}: both must be multiples of {ALIGN}",
    )
    # Not begin + lengths > size: that sum can wrap.
    refuse_first(
        (begin < 0) | (lengths > size) | (begin > size - lengths),
        lambda i: f"{shown(i)} is outside of the arena's {size} bytes",
    )
    raise AssertionError(f"{name}: an extent was refused for no reason")


class Written(NamedTuple):
    """Byte ranges that a launch writes, in address order and known to be disjoint."""

    begin: Column
    end: Column
    number: Column
    """Which of the caller's extents each is."""


def check_writes_apart(begin: Column, lengths: Column) -> Written:
    """No byte is written twice: programs run in any order.  `begin` are absolute addresses."""
    order = begin.argsort()
    begin = begin[order]
    end = begin + lengths[order]

    def message(at: int) -> str:
        return (
            f"extents {order[at]} and {order[at + 1]} are written over each other: "
            f"{end[at] - begin[at + 1]} bytes or more are in both"
        )

    refuse_first(begin[1:] < end[:-1], message)
    return Written(begin, end, order)


def check_reads_apart(written: Written, begin: Column, lengths: Column) -> None:
    """No byte that is read is also written.  `begin` are absolute addresses."""
    # The ends of disjoint ranges are in the order of their begins: only the last one that
    # begins before a read ends can reach into it.
    last = written.begin.searchsorted(begin + lengths) - 1
    reached = (last >= 0) & (written.end[last] > begin)  # -1 is the last range, and ruled out
    refuse_first(
        reached,
        lambda i: f"source extent {i} overlaps destination extent {written.number[last[i]]}",
    )
