"""What a state consists of, and how its numbers are kept.

    slot  | conv parts | pad | temporal ...          | scales of temporal | pad |
          |<-- offset of a part, from the slot's start                          |
          |<------------------------------ stride ----------------------------->|

A part is elements side by side in one format.  E4M3 and INT8 keep one float32 scale for every
`SCALE_BLOCK` elements, inside the same slot, so a state is one byte range in every format.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from cachepawl_kernels.arguments import ALIGN, check_multiple, check_positive
from cachepawl_kernels.errors import KernelArgumentError

SCALE_BLOCK = 128
"""Elements that share a scale: the longest run whose outliers may cost each other precision."""
ELEMENTS_UNIT = 16
"""A part has a multiple of this: 16 bytes in the narrowest format, so no access is cut short."""


class Format(IntEnum):
    """How a number is kept."""

    FP32 = 0
    BF16 = 1
    FP16 = 2
    E4M3 = 3
    INT8 = 4

    @property
    def itemsize(self) -> int:
        """Bytes of an element, without its share of a scale."""
        return {Format.FP32: 4, Format.BF16: 2, Format.FP16: 2}.get(self, 1)

    @property
    def scaled(self) -> bool:
        """Whether blocks of elements share a scale."""
        return self in (Format.E4M3, Format.INT8)


class Part(NamedTuple):
    """Elements of a state in one format; bytes from the slot's start."""

    offset: int
    elements: int
    format: Format
    scales: int | None = None
    """Where the `(blocks,)` float32 scales start, for a scaled format."""

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.elements * self.format.itemsize

    @property
    def scale_bytes(self) -> int:
        """Bytes of the scales and of the padding behind them; 0 where there are none."""
        return _aligned(-(-self.elements // SCALE_BLOCK) * 4) if self.format.scaled else 0

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """`(begin, end)` of the elements and of the scales."""
        found = [(self.offset, self.offset + self.nbytes)]
        if self.scales is not None:
            found.append((self.scales, self.scales + self.scale_bytes))
        return found


class StateLayout(NamedTuple):
    """A slot of `stride` bytes and the parts in it."""

    stride: int
    parts: tuple[Part, ...]

    @property
    def end(self) -> int:
        """Where a slot's last byte in use ends, from the slot's start."""
        return max(end for part in self.parts for _, end in part.ranges)

    def slots_in(self, arena_bytes: int) -> int:
        """How many slots lie whole in `arena_bytes` bytes, as far as their parts go."""
        return (arena_bytes - self.end) // self.stride + 1 if arena_bytes >= self.end else 0


def check_state_layout(name: str, layout: StateLayout) -> None:
    """Parts are aligned, apart from each other and inside their slot, scales where they must be."""
    if not layout.parts:
        raise KernelArgumentError(f"{name} has no parts")
    check_positive(f"{name}.stride", layout.stride)
    check_multiple(f"{name}.stride", layout.stride)
    for i, part in enumerate(layout.parts):
        _check_part(f"{name}.parts[{i}]", part)
    ranges = sorted(
        (begin, end, i) for i, part in enumerate(layout.parts) for begin, end in part.ranges
    )
    for (_, end, one), (begin, _, other) in pairwise(ranges):
        if begin < end:
            raise KernelArgumentError(
                f"{name}: parts {one} and {other} overlap between bytes {begin} and {end}"
            )
    if layout.end > layout.stride:
        raise KernelArgumentError(
            f"{name}: parts end at byte {layout.end}, its stride is {layout.stride}"
        )


def _check_part(name: str, part: Part) -> None:
    if part.format not in list(Format):
        raise KernelArgumentError(f"{name}.format is {part.format}; one of {list(Format)}")
    check_positive(f"{name}.elements", part.elements)
    check_multiple(f"{name}.elements", part.elements, ELEMENTS_UNIT)
    check_multiple(f"{name}.offset", part.offset)
    if part.format.scaled:
        if part.scales is None:
            raise KernelArgumentError(f"{name} is {part.format.name} and has no scales offset")
        check_multiple(f"{name}.scales", part.scales)
    elif part.scales is not None:
        raise KernelArgumentError(f"{name} is {part.format.name} and takes no scales")


def check_same_parts(dst: StateLayout, src: StateLayout) -> None:
    """Both layouts have the same parts, whatever their formats and places."""
    counts = [tuple(part.elements for part in layout.parts) for layout in (dst, src)]
    if counts[0] != counts[1]:
        raise KernelArgumentError(
            f"dst_layout has parts of {counts[0]} elements, src_layout of {counts[1]}"
        )


def packed_layout(formats: tuple[Format, ...], elements: tuple[int, ...]) -> StateLayout:
    """The smallest layout of parts in these formats: each part, then its scales."""
    parts, at = [], 0
    for form, count in zip(formats, elements, strict=True):
        part = Part(at, count, form)
        at += part.nbytes
        if form.scaled:
            part = part._replace(scales=at)
            at += part.scale_bytes
        parts.append(part)
    return StateLayout(at, tuple(parts))


def _aligned(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN
