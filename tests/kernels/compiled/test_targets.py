"""Every kernel compiles for GPUs that are not here, keeps to its registers, and moves 16 bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import triton
import triton.language as tl
from gpu_targets import CUDA, HIP, Case, compile_for
from kernel_cases import CASES, POINTERS

WIDE_CUDA = ("v2.b64", "v4.b32")
WIDE_HIP = ("dwordx4",)
SCALED_CUDA = ("ld.global.b32", "st.global.b32")
SCALED_HIP = tuple(
    f"global_{access}_{width}" for access in ("load", "store") for width in ("dword", "dwordx2")
)
MOST_SHARED = 16 * 1024
"""Bytes: eight programs of this fit any multiprocessor of the targets."""
TARGETS = [*CUDA, *HIP]


def name(value: object) -> str:
    return str(getattr(value, "arch", value))


@pytest.mark.parametrize("target", TARGETS, ids=name)
@pytest.mark.parametrize("case", CASES)
def test_compiles_well(case: str, target: object, tmp_path: Path) -> None:
    chosen = CASES[case]
    built = compile_for(chosen, target, tmp_path)
    assert built.stack == 0, "registers spill"
    assert built.shared <= MOST_SHARED
    # Eight programs of 128 threads at once have 64 registers a thread on CUDA.
    assert built.registers <= 64
    if chosen.table_columns is not None:
        scaled = {side: chosen.scaled == side for side in ("loads", "stores")}
        assert_wide(built.stores, target, scaled=scaled["stores"])
        assert_wide(built.loads, target, chosen.table_columns, scaled=scaled["loads"])


def assert_wide(
    accesses: Counter[str], target: object, scalars: int = 0, *, scaled: bool = False
) -> None:
    """16 bytes an access, but for `scalars` numbers of 8 bytes; gfx942 reads those elsewhere.

    `scaled` allows one access of a scale, 4 bytes; and on gfx942 one of 8 bytes of codes, for its
    256 lanes share the 2048 of a step.
    """
    endings = WIDE_CUDA if target in CUDA else WIDE_HIP
    narrow = Counter({what: n for what, n in accesses.items() if not what.endswith(endings)})
    if target in CUDA:
        narrow -= Counter({"ld.global.b64": scalars})
    if scaled:
        allowed = SCALED_CUDA if target in CUDA else SCALED_HIP
        narrow -= Counter(dict.fromkeys(allowed, 1))
    assert not narrow, f"accesses of less than 16 bytes: {dict(narrow)}"


@triton.jit
def copy_at_any_offset(dst, src, pieces, BLOCK: tl.constexpr):
    """Offsets in bytes of 8, so nothing shows that they are aligned to 16."""
    lane = tl.arange(0, BLOCK)
    moved = tl.load(src + tl.load(pieces) + lane)
    tl.store(dst + tl.load(pieces + 1) + lane, moved)


@triton.jit
def hold_too_much(dst, src, pieces, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    one = tl.load(src + lane)
    tl.store(dst + lane, tl.sum(one, 0) + one)


@pytest.mark.parametrize(
    ("target", "too_much"), [(CUDA[1], 2**15), (HIP[0], 2**16)], ids=["sm_90", "gfx942"]
)
def test_the_checks_can_fail(target: object, too_much: int, tmp_path: Path) -> None:
    narrow = Case(copy_at_any_offset, POINTERS, {"BLOCK": 2048}, ("dst", "src", "pieces"))
    built = compile_for(narrow, target, tmp_path)
    for accesses in (built.stores, built.loads):
        with pytest.raises(AssertionError, match="less than 16 bytes"):
            assert_wide(accesses, target, scalars=2)
    spilling = Case(hold_too_much, POINTERS, {"BLOCK": too_much}, ("dst", "src", "pieces"))
    assert compile_for(spilling, target, tmp_path).stack > 0
