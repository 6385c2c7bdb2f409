"""Every kernel as its launcher starts it, at the tiles that are used on a GPU."""

from __future__ import annotations

from gpu_targets import Case

from cachepawl_kernels.copy.kernel import copy_pieces
from cachepawl_kernels.copy.launch import CopyTile
from cachepawl_kernels.fill.kernel import fill_pieces
from cachepawl_kernels.fill.launch import FillTile
from cachepawl_kernels.fork.kernel import fork_pieces
from cachepawl_kernels.fork.launch import COPY, ForkTile
from cachepawl_kernels.fork.layout import Format
from cachepawl_kernels.rows.kernel import reset_stretches
from cachepawl_kernels.rows.launch import RowsTile
from cachepawl_kernels.slots.kernel import copy_slot_tiles, zero_slot_tiles
from cachepawl_kernels.slots.launch import SlotsTile
from cachepawl_kernels.tokens.kernel import write_stretches
from cachepawl_kernels.tokens.launch import TokensTile
from cachepawl_kernels.transfer.kernel import transfer_units

WORDS = "*i64"
TYPICAL = (COPY, (Format.FP32, Format.BF16))
"""A fork that keeps its conv parts and narrows its temporal part."""
POINTERS = {"dst": WORDS, "src": WORDS, "pieces": WORDS}
STRIDES = ("dst_stride", "dst_row_stride", "dst_base", "src_stride", "src_row_stride", "src_base")


def fork(*conversions: tuple[int, int], scaled: str = "") -> Case:
    return Case(
        fork_pieces,
        POINTERS | {"dst": "*u8", "src": "*u8"},
        {"CONVERSIONS": conversions, "BLOCKS": ForkTile().blocks},
        ("dst", "src", "pieces"),
        table_columns=6 if len(conversions) <= 2 else None,
        scaled=scaled,
    )


def transfer(rows: int, words: int) -> Case:
    types = {"dst": WORDS, "src": WORDS, "ids": WORDS}
    types |= dict.fromkeys(("rows", "row_units", *STRIDES), "i32")
    return Case(transfer_units, types, {"ROWS": rows, "WORDS": words}, ("dst", "src", "ids"), 2)


def fill(word: int) -> Case:
    types = {"arena": WORDS, "pieces": WORDS}
    constants = {"WORD": word, "BLOCK": FillTile().block_words}
    return Case(fill_pieces, types, constants, ("arena", "pieces"), 2)


def slots(kernel: object, *ids: str) -> Case:
    types = {"arena": WORDS, **dict.fromkeys(ids, WORDS)}
    types |= dict.fromkeys(("slots", "stride", "units"), "i32")
    return Case(kernel, types, {"WORDS": SlotsTile().words}, ("arena",), len(ids))


def rows(width: str) -> Case:
    types = {"table": width, "stretches": WORDS, "sink": "i32"}
    constants = {"BLOCK": RowsTile().block_tokens}
    return Case(reset_stretches, types, constants, ("table", "stretches"))


WIDE, NARROW = Format.FP32, (Format.BF16, Format.FP16, Format.E4M3, Format.INT8)
PAIRS = [
    *((WIDE, form) for form in NARROW),
    *((form, WIDE) for form in NARROW),
    (Format.E4M3, Format.INT8),
    (Format.INT8, Format.E4M3),
]
"""Reading and writing are apart in the kernel, so each format once on either side shows all."""

CASES = {
    "copy": Case(
        copy_pieces, POINTERS, {"BLOCK": CopyTile().block_words}, ("dst", "src", "pieces"), 3
    ),
    "zero": fill(0),
    "poison": fill(-1),
    "transfer of whole units": transfer(1, 2048),
    "transfer of a layer's rows": transfer(16, 128),
    "fork without conversion": fork(COPY),
    "fork, float32 to bfloat16": fork(*TYPICAL),
    "fork, float32 to int8": fork(COPY, (Format.FP32, Format.INT8), scaled="stores"),
    "fork, int8 to float32": fork(COPY, (Format.INT8, Format.FP32), scaled="loads"),
    "fork, float32 to e4m3": fork(COPY, (Format.FP32, Format.E4M3), scaled="stores"),
    "fork, e4m3 to float32": fork(COPY, (Format.E4M3, Format.FP32), scaled="loads"),
    "fork, every format at once": fork(COPY, *PAIRS),
    "copy of slots": slots(copy_slot_tiles, "dst_ids", "src_ids"),
    "zero of slots": slots(zero_slot_tiles, "ids"),
    "token ids": Case(
        write_stretches,
        {"out": WORDS, "stretches": WORDS},
        {"BLOCK": TokensTile().block_tokens},
        ("out", "stretches"),
    ),
    "rows of int32": rows("*i32"),
    "rows of int64": rows("*i64"),
}
