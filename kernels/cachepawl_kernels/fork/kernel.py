"""One program converts one piece of one part of one state.

`CONVERSIONS` are the pairs of formats that the launch contains: a piece's kind says which is
its, every program of it takes the same branch, and what does not occur is not compiled.
"""

from __future__ import annotations

import triton
import triton.language as tl

from cachepawl_kernels.fork import layout
from cachepawl_kernels.fork.layout import Format
from cachepawl_kernels.fork.rounding import (
    E4M3_MAX,
    INT8_MAX,
    from_bf16_bits,
    from_e4m3_bits,
    from_fp16_bits,
    scale_of,
    to_bf16_bits,
    to_e4m3_bits,
    to_fp16_bits,
    to_int8_bits,
)

SCALE_BLOCK: tl.constexpr = tl.constexpr(layout.SCALE_BLOCK)
FP32: tl.constexpr = tl.constexpr(int(Format.FP32))
BF16: tl.constexpr = tl.constexpr(int(Format.BF16))
FP16: tl.constexpr = tl.constexpr(int(Format.FP16))
E4M3: tl.constexpr = tl.constexpr(int(Format.E4M3))
COPIED: tl.constexpr = tl.constexpr(-1)
"""In place of a format: bytes that stay as they are."""


@triton.jit
def load_numbers(part, scales, at, inside, block, block_inside, FORMAT: tl.constexpr):
    """`(blocks, elements)` float32; 0 outside."""
    if FORMAT == FP32:
        return tl.load(part.to(tl.pointer_type(tl.float32)) + at, mask=inside, other=0.0)
    elif FORMAT == BF16:
        return from_bf16_bits(
            tl.load(part.to(tl.pointer_type(tl.int16)) + at, mask=inside, other=0)
        )
    elif FORMAT == FP16:
        return from_fp16_bits(
            tl.load(part.to(tl.pointer_type(tl.int16)) + at, mask=inside, other=0)
        )
    else:
        code = tl.load(part.to(tl.pointer_type(tl.int8)) + at, mask=inside, other=0)
        scale = tl.load(
            scales.to(tl.pointer_type(tl.float32)) + block, mask=block_inside, other=0.0
        )
        if FORMAT == E4M3:
            return from_e4m3_bits(code) * scale[:, None]
        else:
            return code.to(tl.float32) * scale[:, None]


@triton.jit
def store_numbers(x, part, scales, at, inside, block, block_inside, FORMAT: tl.constexpr):
    """Round `(blocks, elements)` float32 to the format and store codes and scales."""
    if FORMAT == FP32:
        bits = tl.where(x != x, 0x7FC00000, x.to(tl.int32, bitcast=True))
        tl.store(part.to(tl.pointer_type(tl.int32)) + at, bits, mask=inside)
    elif FORMAT == BF16:
        tl.store(part.to(tl.pointer_type(tl.int16)) + at, to_bf16_bits(x), mask=inside)
    elif FORMAT == FP16:
        tl.store(part.to(tl.pointer_type(tl.int16)) + at, to_fp16_bits(x), mask=inside)
    else:
        if FORMAT == E4M3:
            scale = scale_of(x, E4M3_MAX)
            codes = to_e4m3_bits(tl.div_rn(x, tl.broadcast_to(scale[:, None], x.shape)))
        else:
            scale = scale_of(x, INT8_MAX)
            codes = to_int8_bits(tl.div_rn(x, tl.broadcast_to(scale[:, None], x.shape)))
        tl.store(scales.to(tl.pointer_type(tl.float32)) + block, scale, mask=block_inside)
        tl.store(part.to(tl.pointer_type(tl.int8)) + at, codes, mask=inside)


@triton.jit
def convert(
    to,
    to_scales,
    came,
    came_scales,
    units,
    SOURCE: tl.constexpr,
    TARGET: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """16 * `units` numbers of one format to another, `BLOCKS` scale blocks a step."""
    elements = units * 16
    for start in range(0, elements, BLOCKS * SCALE_BLOCK):
        block = start // SCALE_BLOCK + tl.arange(0, BLOCKS)
        at = start + (
            tl.arange(0, BLOCKS)[:, None] * SCALE_BLOCK + tl.arange(0, SCALE_BLOCK)[None, :]
        )
        inside = at < elements
        block_inside = block * SCALE_BLOCK < elements
        x = load_numbers(came, came_scales, at, inside, block, block_inside, SOURCE)
        store_numbers(x, to, to_scales, at, inside, block, block_inside, TARGET)


@triton.jit
def copy_bytes(to, came, units, BLOCK: tl.constexpr):
    """16 * `units` bytes as they are."""
    words = units * 2
    lane = tl.arange(0, BLOCK)
    to = to.to(tl.pointer_type(tl.int64))
    came = came.to(tl.pointer_type(tl.int64))
    for start in range(0, words, BLOCK):
        word = start + lane
        inside = word < words
        tl.store(to + word, tl.load(came + word, mask=inside), mask=inside)


@triton.jit
def fork_pieces(
    dst,  # *uint8, the arena
    src,  # *uint8
    pieces,  # *int64 (pieces, 6): kind; units of 16 elements, or of 16 bytes when copied; then
    #          in units of 16 bytes the destination's part and scales, and the source's
    CONVERSIONS: tl.constexpr,  # (source format, target format) of every kind
    BLOCKS: tl.constexpr,  # scale blocks a step
):
    row = pieces + tl.program_id(0).to(tl.int64) * 6
    kind = tl.load(row)
    units = tl.load(row + 1)
    to = dst + tl.load(row + 2) * 16
    to_scales = dst + tl.load(row + 3) * 16
    came = src + tl.load(row + 4) * 16
    came_scales = src + tl.load(row + 5) * 16
    for k in tl.static_range(len(CONVERSIONS)):
        if kind == k:
            if CONVERSIONS[k][0] == COPIED:
                copy_bytes(to, came, units, BLOCKS * SCALE_BLOCK)
            else:
                convert(
                    to,
                    to_scales,
                    came,
                    came_scales,
                    units,
                    CONVERSIONS[k][0],
                    CONVERSIONS[k][1],
                    BLOCKS,
                )
