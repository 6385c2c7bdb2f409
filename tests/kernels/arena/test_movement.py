"""Kernels and plain torch leave the same bytes in an arena, whatever they are asked for."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter_guard import GuardError
from triton.runtime.errors import InterpreterError

from cachepawl.errors import InvariantError
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.movement import Movement, TorchMovement
from cachepawl.pool.moves import Move
from cachepawl.pool.triton_movement import FallingBack, TritonMovement
from cachepawl_kernels.copy import launch as copy
from cachepawl_kernels.fill import launch as fill
from cachepawl_launch.movement import choose_movement, try_out

ON_GPU = os.environ["CACHEPAWL_KERNEL_TESTS"] == "gpu"

FRAMES = 7
FULL = 3
GEOMETRY = Geometry(
    KvShape(layers=2, heads=1, head_dim=8, v_head_dim=8, itemsize=2),
    # 704 bytes of state in a frame of 768: padding that nothing may touch.
    StateShape(2, ((3, 8),), 2, (8, 19), 2),
    page_tokens=4,
    num_frames=FRAMES,
)
SPARE = 37
"""Bytes behind the last frame."""
DTYPES = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.bfloat16)


MOVES = ("move_pages", ([Move(3, 9, 3), Move(6, 12, 1), Move(7, 14, 2)],))


def arena_of(movement: Movement, device: str) -> Arena:
    arena = Arena(GEOMETRY, GEOMETRY.total_bytes + SPARE, device, DTYPES, movement)
    seed = torch.Generator().manual_seed(7)
    arena.raw.copy_(torch.randint(1, 255, arena.raw.shape, generator=seed, dtype=torch.uint8))
    return arena


def slots(ids: list[int], device: str) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=device)


@st.composite
def orders(draw: st.DrawFn) -> tuple[str, Any]:
    """One thing that the arena is asked for."""
    what = draw(st.sampled_from(["copy_states", "zero_states", "zero_frames", "move_pages"]))
    places = draw(st.permutations(range(FRAMES)))
    count = draw(st.integers(0, FRAMES // 2))
    if what == "copy_states":
        return what, (list(places[:count]), list(places[count : 2 * count]))
    if what != "move_pages":
        twice = draw(st.booleans()) and what == "zero_frames"
        return what, (list(places[:count]) * (1 + twice),)
    moves = []
    for source, target in zip(places[:count], places[count : 2 * count], strict=True):
        pages = draw(st.integers(1, FULL))
        at, to = (draw(st.integers(0, FULL - pages)) for _ in range(2))
        moves.append(Move(source * FULL + at, target * FULL + to, pages))
    return what, (moves,)


def carry_out(arena: Arena, order: tuple[str, Any], device: str) -> None:
    what, arguments = order
    if what.endswith("states"):
        arguments = tuple(slots(ids, device) for ids in arguments)
    getattr(arena, what)(*arguments)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.lists(orders(), min_size=1, max_size=6))
def test_the_same_bytes_after_any_orders(device: str, todo: list[tuple[str, Any]]) -> None:
    ours = arena_of(FallingBack(TritonMovement(), TorchMovement()), device)
    plain = arena_of(TorchMovement(), device)
    for order in todo:
        carry_out(ours, order, device)
        carry_out(plain, order, device)
        assert torch.equal(ours.raw, plain.raw), order
    assert ours.movement.name == "triton"
    assert ours.movement.calls == plain.movement.calls


def test_the_geometry_has_gaps_to_spare() -> None:
    assert GEOMETRY.pages_per_frame == FULL
    assert 0 < GEOMETRY.state_bytes < GEOMETRY.frame_bytes


@pytest.mark.parametrize(
    "order",
    [
        ("copy_states", ([1, 2, 3], [4, 5, 6])),
        ("zero_states", ([1, 2, 3],)),
        ("zero_frames", ([1, 2, 3],)),
        MOVES,
    ],
    ids=lambda order: order[0],
)
def test_a_batch_is_one_launch(device: str, guard: Any, order: tuple[str, Any]) -> None:
    arena = arena_of(TritonMovement(), device)
    carry_out(arena, order, device)
    assert guard is None or guard.launches == 1


def test_what_a_kernel_refuses_is_a_bug_of_ours(device: str) -> None:
    """Torch would make something of it, so it does not get to."""
    arena = arena_of(FallingBack(TritonMovement(), TorchMovement()), device)
    before = arena.raw.clone()
    with pytest.raises(InvariantError, match="written over each other"):
        arena.move_pages([Move(3, 9, 2), Move(6, 10, 1)])
    assert torch.equal(arena.raw, before)
    assert arena.movement.fallbacks == 0


def test_kernels_are_chosen_and_tried(device: str, guard: Any) -> None:
    assert choose_movement("triton", device).name == "triton"
    assert guard is None or guard.launches == 4
    assert choose_movement("auto", device).name == ("triton" if device == "cuda" else "torch")


def test_a_trial_notices_wrong_bytes(device: str) -> None:
    class OffByOne(TritonMovement):
        def zero_listed(self, units: Any, ids: Any) -> None:
            super().zero_listed(units, [ids[0] - 1])

    with pytest.raises(RuntimeError, match="came out wrong"):
        try_out(OffByOne(), device)


@triton.jit
def clears_too_much(arena, pieces, WORD: tl.constexpr, BLOCK: tl.constexpr):
    """One word more than the piece has, which is the next one's or nobody's."""
    row = pieces + tl.program_id(0).to(tl.int64) * 2
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(row + 1) * 2 + 1
    tl.store(arena + tl.load(row) * 2 + lane, tl.full([BLOCK], WORD, tl.int64), mask=inside)


@triton.jit
def moves_one_program_on(dst, src, pieces, BLOCK: tl.constexpr):
    """Reads what the program before it has written, which is right in one order only."""
    row = pieces + tl.program_id(0).to(tl.int64) * 3
    lane = tl.arange(0, BLOCK)
    inside = lane < tl.load(row + 2) * 2
    moved = tl.load(src + tl.load(row + 1) * 2 + lane, mask=inside)
    tl.store(dst + tl.load(row) * 2 + lane, moved, mask=inside)
    tl.load(dst + tl.load(pieces) * 2 + lane, mask=inside)


@pytest.mark.skipif(ON_GPU, reason="the guard watches the interpreter")
@pytest.mark.parametrize(
    ("module", "name", "kernel", "order", "message"),
    [
        (fill, "fill_pieces", clears_too_much, ("zero_frames", ([1, 2],)), "stored twice"),
        (fill, "fill_pieces", clears_too_much, ("zero_frames", ([FRAMES - 1],)), "store outside"),
        (copy, "copy_pieces", moves_one_program_on, MOVES, "loaded by one program and stored"),
    ],
)
def test_what_is_wrong_on_a_gpu_only_is_seen_here(
    device: str, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, kernel: Any,
    order: tuple[str, Any], message: str,
) -> None:  # fmt: skip
    """The guard is on without being asked for."""
    monkeypatch.setattr(module, name, kernel)
    with pytest.raises((GuardError, InterpreterError), match=message):
        carry_out(arena_of(TritonMovement(), device), order, device)
