"""One program writes one stretch of consecutive token ids."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def write_stretches(
    out,  # *int64 (tokens,)
    stretches,  # *int64 (stretches, 3): place in `out`, first token id, tokens
    BLOCK: tl.constexpr,  # the longest stretch
):
    row = stretches + tl.program_id(0).to(tl.int64) * 3
    lane = tl.arange(0, BLOCK).to(tl.int64)
    tl.store(out + tl.load(row) + lane, tl.load(row + 1) + lane, mask=lane < tl.load(row + 2))
