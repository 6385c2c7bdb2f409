"""One program fills one piece of an extent, 16 bytes an access."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fill_pieces(
    arena,  # *int64, the arena in words of 8 bytes
    pieces,  # *int64 (pieces, 2): offset, length, in units of 16 bytes
    WORD: tl.constexpr,  # what every word becomes
    BLOCK: tl.constexpr,  # words of 8 bytes a step
):
    row = pieces + tl.program_id(0).to(tl.int64) * 2
    to = arena + tl.load(row) * 2
    words = tl.load(row + 1) * 2
    lane = tl.arange(0, BLOCK)
    filling = tl.full([BLOCK], WORD, tl.int64)
    for start in range(0, words, BLOCK):
        word = start + lane
        tl.store(to + word, filling, mask=word < words)
