"""What one launch of a serving step costs: host time until it returns, and device time.

Small work, as a step has it: here the launch is what costs, not the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.bench import Bench, Row, must_equal
from cachepawl_kernels import (
    RowRuns,
    UnitLayout,
    copy_extents,
    copy_slots,
    release_rows,
    write_token_ids,
    zero_extents,
    zero_slots,
)
from cachepawl_kernels.tokens.reference import token_ids_reference

PAGE_TOKENS = 16


def measure(bench: Bench) -> Iterator[Row]:
    """Rows of a decode step, a prefill and frees, and beside ours what torch takes for it."""
    many, few = (64, 16) if bench.device.type == "cuda" else (8, 4)
    arena = bench.arena(bench.sizes.page_bytes * 64)
    page = bench.sizes.page_bytes // 16 * 16
    frames = torch.arange(2, 2 + few) * page
    sizes = torch.full_like(frames, page)
    slots, ids = UnitLayout(page, page), torch.arange(8, device=bench.device)
    to, came = ids[:4], ids[4:]
    launches: dict[str, Callable[[], object]] = {
        f"zero {few} pages": lambda: zero_extents(arena, frames, sizes),
        "copy one page": lambda: copy_extents(arena, frames[:1], arena, frames[-1:], sizes[:1]),
        "copy 4 slots by device ids": lambda: copy_slots(arena, slots, to, came),
        "clear 4 slots by device ids": lambda: zero_slots(arena, slots, to),
    }

    def admission() -> None:
        for launch in launches.values():
            launch()

    yield _token_ids(bench, f"token ids, {many} rows of one token", many, 1)
    yield _token_ids(
        bench, f"token ids, {few} rows of {bench.sizes.tokens}", few, bench.sizes.tokens
    )
    yield _release(bench, many)
    for name, launch in launches.items():
        yield _timed(bench, name, launch)
    yield _timed(bench, "torch: copy 4 slots by index", _torch_copy(arena, page, to, came))
    yield _timed(bench, "torch: zero one page by index", _torch_zero(arena, page))
    # Frames that turn to KV, an evacuation, restored states, new states: all that a step may ask.
    yield _timed(bench, f"an admission step: {len(launches)} launches", admission)


def _timed(bench: Bench, row: str, call: Callable[[], object]) -> Row:
    return {"row": row, "host_us": bench.host_us(call), "device_us": bench.device_us(call)}


def _token_ids(bench: Bench, name: str, rows: int, tokens: int) -> Row:
    pages = -(-tokens // PAGE_TOKENS)
    first, counts = torch.arange(rows) * pages, torch.full((rows,), pages)
    batch = RowRuns(
        first, counts, torch.arange(1, rows + 1), torch.zeros_like(first),
        torch.full((rows,), tokens),
    )  # fmt: skip
    out = torch.full((rows * tokens,), -1, dtype=torch.int64, device=bench.device)

    def ours() -> None:
        write_token_ids(out, batch, PAGE_TOKENS, rows * pages)

    ours()
    must_equal(name, out.cpu(), token_ids_reference(batch, PAGE_TOKENS))
    return _timed(bench, name, ours)


def _release(bench: Bench, rows: int) -> Row:
    width = bench.sizes.tokens
    table = torch.ones(rows, width, dtype=torch.int32, device=bench.device)
    columns = torch.arange(rows), torch.zeros(rows).long(), torch.full((rows,), width)

    def ours() -> None:
        release_rows(table, *columns)

    ours()
    must_equal("release", table, torch.zeros_like(table))
    return _timed(bench, f"release {rows} rows of {width}", ours)


def _torch_copy(
    arena: torch.Tensor, page: int, to: torch.Tensor, came: torch.Tensor
) -> Callable[[], None]:
    units = arena[: arena.numel() // page * page].view(-1, page)

    def copy() -> None:
        units[to] = units[came]

    return copy


def _torch_zero(arena: torch.Tensor, page: int) -> Callable[[], None]:
    units = arena[: arena.numel() // page * page].view(-1, page)

    def zero() -> None:
        units[torch.tensor([3]).to(arena.device, non_blocking=True)] = 0

    return zero
