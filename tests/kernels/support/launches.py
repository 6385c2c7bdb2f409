"""Every launcher once, on two arenas of `SIZE` bytes: what is asked of all of them alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from arenas import column

from cachepawl_kernels import (
    Format,
    RowRuns,
    UnitLayout,
    copy_extents,
    copy_slots,
    fork_states,
    fork_states_at,
    gather,
    poison_extents,
    release_rows,
    scatter,
    transfer,
    write_token_ids,
    zero_extents,
    zero_slots,
)
from cachepawl_kernels.fork.layout import packed_layout
from cachepawl_kernels.transfer.layout import dense

SIZE = 2**16
NARROW, WIDE = (
    packed_layout((Format.BF16, form), (64, 512)) for form in (Format.INT8, Format.FP32)
)
SLOT = UnitLayout(stride=4096, row_bytes=4080)
PAGE = UnitLayout(stride=4096, row_bytes=256, rows=16, row_stride=256)


class Launch(NamedTuple):
    """One launch that is right, as long as the arenas are."""

    call: Callable[[torch.Tensor, torch.Tensor], None]
    """Takes `dst` and `src`."""
    arenas: tuple[str, ...]
    """What the launcher calls the arenas, `dst` first; empty where it takes no arena."""


BOTH = ("dst", "src")
ONE = ("arena",)


def _copy(dst: torch.Tensor, src: torch.Tensor) -> None:
    copy_extents(dst, column(0, 4096), src, column(64, 8192), column(4096, 16))


def _copy_slots(dst: torch.Tensor, _: torch.Tensor) -> None:
    copy_slots(dst, SLOT, on(dst, 1, 2), on(dst, 3, 4))


def _token_ids(dst: torch.Tensor, _: torch.Tensor) -> None:
    runs = RowRuns(column(1), column(1), column(1), column(0), column(4))
    write_token_ids(dst.view(torch.int64)[:4], runs, 4, 8)


def _release(dst: torch.Tensor, _: torch.Tensor) -> None:
    release_rows(dst.view(torch.int32).view(8, -1), column(1), column(1), column(3), 0)


def _release_wide(dst: torch.Tensor, _: torch.Tensor) -> None:
    release_rows(dst.view(torch.int64).view(8, -1), column(1), column(1), column(3), 1)


LAUNCHES = {
    "copy_extents": Launch(_copy, BOTH),
    "zero_extents": Launch(lambda a, _: zero_extents(a, column(0, 64), column(16, 4096)), ONE),
    "poison_extents": Launch(lambda a, _: poison_extents(a, column(16), column(64)), ONE),
    "fork_states": Launch(lambda d, s: fork_states(d, NARROW, column(0), s, WIDE, column(1)), BOTH),
    "fork_states_at": Launch(
        lambda d, s: fork_states_at(d, WIDE, column(64), s, NARROW, column(16)), BOTH
    ),
    "copy_slots": Launch(_copy_slots, ONE),
    "zero_slots": Launch(lambda a, _: zero_slots(a, SLOT, on(a, 1)), ONE),
    "transfer": Launch(
        lambda d, s: transfer(d, PAGE, column(2), s, dense(16, 256), column(1)), BOTH
    ),
    "gather": Launch(lambda d, s: gather(d, s, PAGE, column(1)), BOTH),
    "scatter": Launch(lambda d, s: scatter(d, PAGE, column(1), s), BOTH),
    "write_token_ids": Launch(_token_ids, ()),
    "release_rows": Launch(_release, ()),
    "release_rows, int64": Launch(_release_wide, ()),
}


def on(arena: torch.Tensor, *ids: int) -> torch.Tensor:
    return column(*ids).to(arena.device)


def pair(device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two arenas side by side."""
    whole = torch.zeros(2 * SIZE, dtype=torch.uint8, device=device)
    return whole[:SIZE], whole[SIZE:]
