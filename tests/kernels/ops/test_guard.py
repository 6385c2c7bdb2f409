"""Each check of the guard refuses a kernel that is wrong in just that way."""

from __future__ import annotations

import os

import pytest
import torch

if os.environ["CACHEPAWL_KERNEL_TESTS"] == "gpu":
    pytest.skip("the guard watches the interpreter", allow_module_level=True)

import triton
import triton.language as tl
from arenas import assert_same, column, fenced, twin
from interpreter_guard import Guard, GuardError
from triton.runtime.errors import InterpreterError

from cachepawl_kernels.copy import launch as copy_launch
from cachepawl_kernels.copy.launch import CopyTile, copy_extents

REFUSED = (GuardError, InterpreterError)


@triton.jit
def copy_without_mask(dst, src, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(dst + lane, tl.load(src + lane, mask=lane < n), mask=lane < n)
    tl.load(src + lane)


@triton.jit
def store_without_mask(dst, src, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(dst + lane, tl.load(src + lane, mask=lane < n))


@triton.jit
def read_off_by_one_byte(dst, src):
    shifted = (src.to(tl.pointer_type(tl.uint8)) + 1).to(tl.pointer_type(tl.int64))
    tl.store(dst, tl.load(shifted))


@triton.jit
def multiply_in_32_bits(dst, stride):
    tl.store(dst + tl.program_id(0) * 0, tl.program_id(0) * stride, mask=tl.program_id(0) == 3)


@triton.jit
def shift_left(dst):
    program = tl.program_id(0)
    tl.store(dst + program, tl.load(dst + program + 1))


@triton.jit
def everyone_stores_first(dst):
    tl.store(dst, tl.program_id(0))


@triton.jit
def lanes_on_each_other(dst, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(dst + lane // 2, lane)


@triton.jit
def count(dst):
    tl.atomic_add(dst, 1)


def words(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int64)


def test_a_right_kernel_passes(guard: Guard) -> None:
    @triton.jit
    def right(dst, src, n, BLOCK: tl.constexpr):
        lane = tl.arange(0, BLOCK)
        tl.store(dst + lane, tl.load(src + lane, mask=lane < n), mask=lane < n)

    source = torch.arange(12)
    into = words(12)
    right[(1,)](into, source, 12, BLOCK=16)
    assert torch.equal(into, source)
    assert guard.launches == 1


def test_a_load_out_of_bounds() -> None:
    backing = words(64)
    with pytest.raises(REFUSED, match="load outside of every argument, 4 lanes"):
        copy_without_mask[(1,)](words(16), backing[:12], 12, BLOCK=16)


def test_a_store_out_of_bounds() -> None:
    backing = words(64)
    with pytest.raises(REFUSED, match="store outside of every argument, 4 lanes"):
        store_without_mask[(1,)](backing[8:20], words(16), 12, BLOCK=16)


def test_a_misaligned_access() -> None:
    with pytest.raises(REFUSED, match="misaligned load of 8 bytes"):
        read_off_by_one_byte[(1,)](words(1), words(4))


def test_an_offset_that_wraps() -> None:
    with pytest.raises(REFUSED, match="overflow"):
        multiply_in_32_bits[(4,)](words(1), 1 << 30)


def test_a_kernel_that_counts_on_an_order() -> None:
    with pytest.raises(REFUSED, match="loaded by one program and stored by another"):
        shift_left[(9,)](words(10))


def test_programs_run_in_another_order(guard: Guard) -> None:
    """What is written last is not the last program's, so order matters to who ignores it."""
    found = set()
    for _ in range(4):
        into = words(1)
        with pytest.raises(REFUSED, match="stored twice"):
            everyone_stores_first[(8,)](into)
        found.add(int(into))
    assert found != {7}


def test_lanes_that_store_to_one_address() -> None:
    with pytest.raises(REFUSED, match="stored twice"):
        lanes_on_each_other[(1,)](words(8), BLOCK=16)


def test_an_atomic() -> None:
    with pytest.raises(REFUSED, match="atomic"):
        count[(1,)](words(1))


@triton.jit
def copy_half(dst, src, pieces, BLOCK: tl.constexpr):
    row = pieces + tl.program_id(0).to(tl.int64) * 3
    words = tl.load(row + 2)
    lane = tl.arange(0, BLOCK)
    for start in range(0, words, BLOCK):
        word = start + lane
        moved = tl.load(src + tl.load(row + 1) * 2 + word, mask=word < words)
        tl.store(dst + tl.load(row) * 2 + word, moved, mask=word < words)


@triton.jit
def copy_past_the_end(dst, src, pieces, BLOCK: tl.constexpr):
    row = pieces + tl.program_id(0).to(tl.int64) * 3
    words = tl.load(row + 2) * 2
    lane = tl.arange(0, BLOCK)
    for start in range(0, words, BLOCK):
        moved = tl.load(src + tl.load(row + 1) * 2 + start + lane)
        tl.store(dst + tl.load(row) * 2 + start + lane, moved)


def copy_with(kernel: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of a copy, on another kernel."""
    monkeypatch.setattr(copy_launch, "copy_pieces", kernel)
    ours = fenced(1024, torch.device("cpu"))
    reference = twin(ours)
    columns = (column(512), column(0), column(272))
    copy_extents(ours.arena, columns[0], ours.arena, *columns[1:], tile=CopyTile(16, 128))
    reference.arena[512:784] = reference.arena[0:272]
    assert_same(ours, reference)


def test_bytes_that_are_not_written_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    copy_with(copy_launch.copy_pieces, monkeypatch)
    with pytest.raises(AssertionError, match="the first at 576 of the arena"):
        copy_with(copy_half, monkeypatch)


def test_bytes_past_an_extent_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="bytes differ"):
        copy_with(copy_past_the_end, monkeypatch)
