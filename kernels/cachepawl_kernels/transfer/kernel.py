"""One program moves one tile of one unit, 16 bytes an access."""

from __future__ import annotations

import triton
import triton.language as tl


# A server's strides are always the same, and alignment is shown below: variants for what values
# happen to be divisible by would only be compiled in the middle of serving.
@triton.jit(
    do_not_specialize=[
        "rows",
        "row_units",
        "dst_stride",
        "dst_row_stride",
        "dst_base",
        "src_stride",
        "src_row_stride",
        "src_base",
    ]
)
def transfer_units(
    dst,  # *int64, the arena in words of 8 bytes
    src,  # *int64
    ids,  # *int64 (units, 2): destination unit, source unit
    rows,  # int: rows a unit
    row_units,  # int: 16-byte units a row
    dst_stride,  # int: 16-byte units from a unit to the next, as all below
    dst_row_stride,
    dst_base,
    src_stride,
    src_row_stride,
    src_base,
    ROWS: tl.constexpr,  # rows of a tile
    WORDS: tl.constexpr,  # words of 8 bytes of a tile's row
):
    # 16-byte units doubled: the compiler sees that a pair of words is aligned.
    row_words = row_units.to(tl.int64) * 2
    tiles_across = tl.cdiv(row_words, WORDS)
    tiles = tiles_across * tl.cdiv(rows, ROWS)
    program = tl.program_id(0).to(tl.int64)
    tile = program % tiles
    row = ((tile // tiles_across) * ROWS + tl.arange(0, ROWS))[:, None]
    word = ((tile % tiles_across) * WORDS + tl.arange(0, WORDS))[None, :]
    inside = (row < rows) & (word < row_words)
    pair = ids + program // tiles * 2
    to = dst + (tl.load(pair) * dst_stride + dst_base) * 2
    came = src + (tl.load(pair + 1) * src_stride + src_base) * 2
    moved = tl.load(came + row * (src_row_stride.to(tl.int64) * 2) + word, mask=inside)
    tl.store(to + row * (dst_row_stride.to(tl.int64) * 2) + word, moved, mask=inside)
