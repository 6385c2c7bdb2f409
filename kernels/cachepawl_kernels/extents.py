"""Byte extents of an arena: checks, and cutting them into pieces of bounded size.

    offsets  |----|      |----------|  |--|        bytes, any number of different lengths
    pieces   |----|      |---|---|--|  |--|        at most one piece long, one program each

Cutting on the host gives every program work: a 72 MiB state and a thousand pages of 24 KiB
share one launch.  A grid of (extents x longest extent) would be a million programs, nearly all
of them empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl_kernels.arguments import ALIGN, check_column, refuse_first
from cachepawl_kernels.errors import KernelArgumentError


class Pieces(NamedTuple):
    """One row a piece, all `(pieces,)` int64."""

    extent: torch.Tensor
    """Which extent the piece belongs to."""
    within: torch.Tensor
    """Where in it the piece starts."""
    length: torch.Tensor
    """How long it is."""


def cut(lengths: torch.Tensor, most: int) -> Pieces:
    """Cut every length into pieces of at most `most`; O(pieces), no loop.

    Only the last piece of an extent is shorter than `most`, so that a piece starts on a
    multiple of it.
    """
    counts = (lengths + (most - 1)) // most
    extent = torch.repeat_interleave(counts)
    first_piece = counts.cumsum(0) - counts
    within = (torch.arange(extent.numel()) - first_piece[extent]) * most
    return Pieces(extent, within, (lengths[extent] - within).clamp(max=most))


def check_extents(
    name: str, arena: torch.Tensor, offsets: torch.Tensor, lengths: torch.Tensor
) -> None:
    """Every extent has bytes, starts and ends on `ALIGN` bytes, and lies inside the arena."""
    check_column(f"{name} offsets", offsets)
    check_column("lengths", lengths)
    if offsets.numel() != lengths.numel():
        raise KernelArgumentError(f"{offsets.numel()} {name} offsets for {lengths.numel()} lengths")
    size = arena.numel()

    def shown(i: int) -> str:
        return f"{name} extent {i} of {int(lengths[i])} bytes at offset {int(offsets[i])}"

    refuse_first(lengths < 1, lambda i: f"{shown(i)}: a length must be at least 1")
    refuse_first(
        (offsets % ALIGN != 0) | (lengths % ALIGN != 0),
        lambda i: f"{shown(i)}: both must be multiples of {ALIGN}",
    )
    # Not offsets + lengths > size: that sum can wrap.
    refuse_first(
        (offsets < 0) | (lengths > size) | (offsets > size - lengths),
        lambda i: f"{shown(i)} is outside of the arena's {size} bytes",
    )


class Written(NamedTuple):
    """Byte ranges that a launch writes, in address order and known to be disjoint."""

    begin: torch.Tensor
    end: torch.Tensor
    number: torch.Tensor
    """Which of the caller's extents each is."""


def check_writes_apart(begin: torch.Tensor, lengths: torch.Tensor) -> Written:
    """No byte is written twice: programs run in any order.  `begin` are absolute addresses."""
    begin, order = begin.sort()
    end = begin + lengths[order]

    def message(at: int) -> str:
        first, second = int(order[at]), int(order[at + 1])
        return (
            f"extents {first} and {second} are written over each other: "
            f"{int(end[at] - begin[at + 1])} bytes or more are in both"
        )

    refuse_first(begin[1:] < end[:-1], message)
    return Written(begin, end, order)


def check_reads_apart(written: Written, begin: torch.Tensor, lengths: torch.Tensor) -> None:
    """No byte that is read is also written.  `begin` are absolute addresses."""
    # The ends of disjoint ranges are in the order of their begins: only the last one that
    # begins before a read ends can reach into it.
    last = torch.searchsorted(written.begin, begin + lengths) - 1
    reached = (last >= 0) & (written.end[last.clamp(min=0)] > begin)

    def message(i: int) -> str:
        return f"source extent {i} overlaps destination extent {int(written.number[last[i]])}"

    refuse_first(reached, message)
