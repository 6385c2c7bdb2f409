"""Every launcher's own launch, as far as the compiled kernel: the JIT takes its arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from arenas import column
from gpu_targets import CUDA, HIP
from no_gpu_driver import compiling_for

from cachepawl_kernels import (
    Format,
    RowRuns,
    UnitLayout,
    copy_extents,
    copy_slots,
    fork_states,
    gather,
    poison_extents,
    release_rows,
    write_token_ids,
    zero_extents,
    zero_slots,
)
from cachepawl_kernels.fork.layout import packed_layout

HALF = 2**19
NARROW, WIDE = (
    packed_layout((Format.BF16, form), (64, 512)) for form in (Format.INT8, Format.FP32)
)
SLOT = UnitLayout(stride=4096, row_bytes=4080)
PAGE = UnitLayout(stride=4096, row_bytes=256, rows=16, row_stride=256)


def arena() -> torch.Tensor:
    return torch.zeros(2 * HALF, dtype=torch.uint8)


LAUNCHES: dict[str, Callable[[torch.Tensor], None]] = {
    "copy": lambda a: copy_extents(a, column(0), a, column(HALF), column(4096)),
    "zero": lambda a: zero_extents(a, column(0, 64), column(16, 4096)),
    "poison": lambda a: poison_extents(a, column(16), column(64)),
    "fork": lambda a: fork_states(a[:HALF], NARROW, column(0), a[HALF:], WIDE, column(1)),
    "copy of slots": lambda a: copy_slots(a, SLOT, column(1, 2), column(3, 4)),
    "zero of slots": lambda a: zero_slots(a, SLOT, column(1)),
    "gather": lambda a: gather(a[:4096], a[HALF:], PAGE, column(1)),
    "rows, sink 0": lambda a: release_rows(a.view(torch.int32).view(8, -1), *columns(3), 0),
    "rows, sink 1": lambda a: release_rows(a.view(torch.int64).view(8, -1), *columns(3), 1),
    "token ids": lambda a: write_token_ids(
        a.view(torch.int64)[:4], RowRuns(*columns(1), column(0), column(4)), 4, 8
    ),
}


def columns(last: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return column(1), column(1), column(last)


@pytest.mark.parametrize("target", [CUDA[1], HIP[0]], ids=["sm_90", "gfx942"])
@pytest.mark.parametrize("op", LAUNCHES)
def test_the_jit_takes_it(op: str, target: object) -> None:
    with compiling_for(target) as built:
        LAUNCHES[op](arena())
    (kernel,) = built
    assert kernel.asm["cubin" if target in CUDA else "hsaco"]


def test_one_slot_and_another_are_one_kernel() -> None:
    """Ids at any address, any number of slots: nothing is compiled anew while it serves."""
    table = column(*range(64))
    with compiling_for(CUDA[1]) as built:
        for stop in (4, 5, 8):
            zero_slots(arena(), SLOT, table[3:stop])
            zero_slots(arena()[: 3 * 4096 * stop], SLOT._replace(row_bytes=16), table[2:3])
    assert len({id(kernel) for kernel in built}) == 1
