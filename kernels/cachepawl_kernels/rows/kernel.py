"""One program resets one stretch of a row of token ids."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def reset_stretches(
    table,  # *int32 or *int64 (rows, width), rows contiguous
    stretches,  # *int64 (stretches, 2): first element, from the table's start; elements
    sink,  # int: the id that every element becomes
    BLOCK: tl.constexpr,  # the longest stretch
):
    row = stretches + tl.program_id(0).to(tl.int64) * 2
    lane = tl.arange(0, BLOCK).to(tl.int64)
    value = tl.full([BLOCK], sink, tl.int64).to(table.dtype.element_ty)
    tl.store(table + tl.load(row) + lane, value, mask=lane < tl.load(row + 1))
