"""What the server asks of the arena: states copied, states and frames cleared, a frame evacuated.

Through `Arena`, once moved by our kernels and once by plain torch, at the sizes of
Qwen3-Next-80B-A3B (24576 B of KV a token, 73.7 MiB a state).  `of_copy` is our share of the
bandwidth of one device-to-device copy of as many bytes, measured in the same run; for clearing,
of one memset.  `sglang_us` is SGLang's copy of as many pages, where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.gpu import optional
from benchmarks.gpu.bench import Bench, Row, gbps, must_equal
from benchmarks.gpu.sections import attempt
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.movement import TorchMovement
from cachepawl.pool.moves import Move
from cachepawl.pool.triton_movement import TritonMovement

PAGE = 16
FULL = Geometry(
    KvShape(layers=12, heads=2, head_dim=256, v_head_dim=256, itemsize=2),
    StateShape(36, ((8192, 3),), 2, (32, 128, 128), 4),
    PAGE,
    num_frames=24,
)
DRY = Geometry(
    KvShape(layers=2, heads=1, head_dim=8, v_head_dim=8, itemsize=2),
    StateShape(2, ((32, 3),), 2, (4, 8, 8), 4),
    PAGE,
    num_frames=24,
)
STATES = 4


class Task(NamedTuple):
    """Something that both movements do."""

    row: str
    work: Callable[[Arena], None]
    nbytes: int
    sglang: Callable[[Arena], float | str | None]
    clears: bool = False


def measure(bench: Bench) -> Iterator[Row]:
    """A row a task."""
    geometry = FULL if bench.device.type == "cuda" else DRY
    ours, plain = (_arena(bench, geometry, move) for move in (TritonMovement(), TorchMovement()))
    plain.raw.copy_(ours.raw)
    for task in tasks(bench, geometry):
        yield attempt(task.row, partial(_row, bench, ours, plain, task))


def tasks(bench: Bench, geometry: Geometry) -> list[Task]:
    """Of sizes that a step has."""
    ids = torch.arange(geometry.num_frames, device=bench.device)
    moves = evacuation(geometry)
    pages = sum(move.pages for move in moves)

    def copy(arena: Arena, count: int) -> None:
        arena.copy_states(ids[1 : 1 + count], ids[-count:])

    def sglang_pages(arena: Arena) -> float | str | None:
        to, came = ([p for m in moves for p in range(m[i], m[i] + m.pages)] for i in (1, 0))
        on_device = (torch.tensor(part, device=bench.device) for part in (to, came))
        return optional.copy_pages_us(bench, arena.raw, *on_device, geometry.page_bytes)

    def nothing(_: Arena) -> None:
        return None

    def states(verb: Callable[[Arena, int], None], name: str, clears: bool) -> list[Task]:
        return [
            Task(
                f"{name} {count} states by device ids",
                lambda arena, count=count: verb(arena, count),
                count * geometry.state_bytes,
                nothing,
                clears,
            )
            for count in (1, STATES)
        ]

    return [
        *states(copy, "copy", False),
        *states(lambda arena, count: arena.zero_states(ids[1 : 1 + count]), "clear", True),
        Task(
            "clear 2 frames", lambda arena: arena.zero_frames([3, 5]), 2 * geometry.frame_bytes,
            nothing, True,
        ),
        Task(
            f"evacuate one frame, {pages} pages in {len(moves)} runs",
            lambda arena: arena.move_pages(moves), pages * geometry.page_bytes, sglang_pages,
        ),
    ]  # fmt: skip


def evacuation(geometry: Geometry) -> list[Move]:
    """The pages of frame 2, in runs of one, two, three, ... pages, to the ends of other frames."""
    full = geometry.pages_per_frame
    moves: list[Move] = []
    page, left, length = 2 * full, full, 1
    while left:
        count = min(length, left)
        frame = 6 + len(moves) % (geometry.num_frames - 6)
        used = sum(move.pages for move in moves if move.target // full == frame)
        moves.append(Move(page, (frame + 1) * full - used - count, count))
        page, left, length = page + count, left - count, length + 1
    return moves


def _row(bench: Bench, ours: Arena, plain: Arena, task: Task) -> Row:
    for arena in (ours, plain):
        task.work(arena)
    must_equal(task.row, ours.raw, plain.raw)
    if task.clears:
        one_us = bench.device_us(lambda: plain.raw[: task.nbytes].zero_())
    else:
        # From one half to the other: no byte is read and written.
        half = plain.raw.numel() // 2
        assert task.nbytes <= half, task.row
        one_us = bench.device_us(
            lambda: plain.raw[half : half + task.nbytes].copy_(plain.raw[: task.nbytes])
        )
    ours_us, host_us = (
        bench.device_us(lambda: task.work(ours)),
        bench.host_us(lambda: task.work(ours)),
    )
    torch_us, torch_host = (
        bench.device_us(lambda: task.work(plain)), bench.host_us(lambda: task.work(plain)),
    )  # fmt: skip
    plain.raw.copy_(ours.raw)
    return {
        "row": task.row, "moved_bytes": task.nbytes, "ours_us": ours_us,
        "ours_gbps": gbps(task.nbytes * (1 if task.clears else 2), ours_us),
        "one_us": one_us, "of_copy": round(one_us / ours_us, 3), "torch_us": torch_us,
        "sglang_us": task.sglang(plain), "host_us": host_us, "torch_host_us": torch_host,
    }  # fmt: skip


def _arena(bench: Bench, geometry: Geometry, movement: TritonMovement | TorchMovement) -> Arena:
    dtypes = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.float32)
    arena = Arena(geometry, geometry.total_bytes, str(bench.device), dtypes, movement)
    arena.raw.copy_(bench.arena(geometry.total_bytes)[: geometry.total_bytes])
    return arena
