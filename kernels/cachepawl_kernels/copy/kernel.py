"""One program copies one piece of an extent, 16 bytes an access."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def copy_pieces(
    dst,  # *int64, the arena in words of 8 bytes
    src,  # *int64
    pieces,  # *int64 (pieces, 3): destination, source, length, in units of 16 bytes
    BLOCK: tl.constexpr,  # words of 8 bytes a step
):
    row = pieces + tl.program_id(0).to(tl.int64) * 3
    # The table is in 16-byte units: doubling shows the compiler that a pair of words is aligned.
    to = dst + tl.load(row) * 2
    came = src + tl.load(row + 1) * 2
    words = tl.load(row + 2) * 2
    lane = tl.arange(0, BLOCK)
    for start in range(0, words, BLOCK):
        word = start + lane
        inside = word < words
        tl.store(to + word, tl.load(came + word, mask=inside), mask=inside)
