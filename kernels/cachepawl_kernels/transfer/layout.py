"""Where the bytes of a unit lie in an arena.

    arena   | unit 0                  | unit 1                  | unit 2 ...
            |<-------- stride ------->|
            |<- base ->[row]..[row]..[row]
                       |<- row_stride ->|

A whole page or state is one row.  One attention layer's K and V of a page is a row a token, at
the stride of an entry: the same bytes lie densely in a layout that keeps layers apart.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl_kernels.arguments import check_multiple, check_positive
from cachepawl_kernels.errors import KernelArgumentError


class UnitLayout(NamedTuple):
    """Bytes: unit `i` has `rows` rows of `row_bytes`, the first at `i * stride + base`."""

    stride: int
    row_bytes: int
    rows: int = 1
    row_stride: int = 0
    """From one row to the next; unused with one row."""
    base: int = 0

    @property
    def end(self) -> int:
        """Where a unit's last row ends, from the unit's start."""
        return self.base + (self.rows - 1) * self.row_stride + self.row_bytes

    def units_in(self, arena_bytes: int) -> int:
        """How many units lie whole in `arena_bytes` bytes, as far as their rows go."""
        return (arena_bytes - self.end) // self.stride + 1 if arena_bytes >= self.end else 0


def dense(rows: int, row_bytes: int) -> UnitLayout:
    """Units and rows one after another: the layout of a staging buffer."""
    return UnitLayout(rows * row_bytes, row_bytes, rows, row_bytes)


def check_layout(name: str, layout: UnitLayout) -> None:
    """Rows are aligned, do not overlap, and end inside their unit."""
    check_positive(f"{name}.rows", layout.rows)
    check_positive(f"{name}.row_bytes", layout.row_bytes)
    check_positive(f"{name}.stride", layout.stride)
    for field in ("stride", "row_bytes", "row_stride", "base"):
        check_multiple(f"{name}.{field}", getattr(layout, field))
    if layout.rows > 1 and layout.row_stride < layout.row_bytes:
        raise KernelArgumentError(
            f"{name}.row_stride is {layout.row_stride}; "
            f"rows of {layout.row_bytes} bytes would overlap"
        )
    if layout.end > layout.stride:
        raise KernelArgumentError(
            f"{name}: a unit's rows end at byte {layout.end}, its stride is {layout.stride}"
        )
