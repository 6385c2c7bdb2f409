"""One program copies or clears one tile of one slot, 16 bytes an access.

The ids are read on the device, where no host has seen them: a slot that is none is passed over,
so that whatever they are, no byte outside of the slots is touched.
"""

from __future__ import annotations

import triton
import triton.language as tl


# Ids are often one element of a table, at any address, and numbers of slots come as they come:
# variants for what happens to be aligned would only be compiled in the middle of serving.
@triton.jit(
    do_not_specialize=["slots", "stride", "units"],
    do_not_specialize_on_alignment=["dst_ids", "src_ids"],
)
def copy_slot_tiles(
    arena,  # *int64, the arena in words of 8 bytes
    dst_ids,  # *int64 (n,)
    src_ids,  # *int64 (n,)
    slots,  # int: ids are below
    stride,  # int: 16-byte units from a slot to the next
    units,  # int: 16-byte units of a slot that are copied
    WORDS: tl.constexpr,  # words of 8 bytes of a tile
):
    words = units.to(tl.int64) * 2
    tiles = tl.cdiv(words, WORDS)
    program = tl.program_id(0).to(tl.int64)
    to = tl.load(dst_ids + program // tiles)
    came = tl.load(src_ids + program // tiles)
    word = (program % tiles) * WORDS + tl.arange(0, WORDS)
    known = (to >= 0) & (to < slots) & (came >= 0) & (came < slots)
    inside = word < tl.where(known, words, 0)
    # 16-byte units doubled: the compiler sees that a pair of words is aligned.
    moved = tl.load(arena + came * stride * 2 + word, mask=inside)
    tl.store(arena + to * stride * 2 + word, moved, mask=inside)


@triton.jit(
    do_not_specialize=["slots", "stride", "units"],
    do_not_specialize_on_alignment=["ids"],
)
def zero_slot_tiles(
    arena,  # *int64, the arena in words of 8 bytes
    ids,  # *int64 (n,)
    slots,  # int: ids are below
    stride,  # int: 16-byte units from a slot to the next
    units,  # int: 16-byte units of a slot that are cleared
    WORDS: tl.constexpr,  # words of 8 bytes of a tile
):
    words = units.to(tl.int64) * 2
    tiles = tl.cdiv(words, WORDS)
    program = tl.program_id(0).to(tl.int64)
    to = tl.load(ids + program // tiles)
    word = (program % tiles) * WORDS + tl.arange(0, WORDS)
    inside = word < tl.where((to >= 0) & (to < slots), words, 0)
    tl.store(arena + to * stride * 2 + word, tl.zeros([WORDS], tl.int64), mask=inside)
