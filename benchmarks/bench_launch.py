"""`python -m benchmarks.bench_launch`: what a kernel launcher takes on the host, without a GPU.

From the call to Triton's own launch, which is left out: checks, cutting, the table.  On a GPU the
table goes through page-locked memory besides; here it is ordinary.  CPU time of the thread, the
first decile of the calls: what they take when no neighbour empties the caches.
Last, what the host builds by itself instead of a launch: the token ids of a request.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any
from unittest.mock import patch

os.environ["TRITON_INTERPRET"] = "0"  # read when Triton is imported

import torch
from triton.runtime import JITFunction

from cachepawl.types import Runs
from cachepawl_kernels import (
    RowRuns,
    UnitLayout,
    copy_extents,
    gather,
    launching,
    release_rows,
    write_token_ids,
    zero_extents,
)
from cachepawl_launch.indices import token_ids

PAGE, PAGE_TOKENS, CALLS, WARM_UP = 24576, 16, 400, 20
Call = Callable[[], Any]


@contextmanager
def not_launched() -> Iterator[None]:
    """Launchers do all but launch."""
    with (
        patch.object(JITFunction, "run", lambda *_, **__: None),
        patch.object(*_gate(), lambda *_: None),
    ):
        yield


def _gate() -> tuple[Any, str]:
    """What says that a kernel does not run on a CPU; older kernels had it elsewhere."""
    try:
        from cachepawl_kernels import devices
    except ImportError:
        return launching, "check_runnable"
    return devices, "why_not"


def first_decile_us(call: Call) -> float:
    samples = []
    for _ in range(CALLS + WARM_UP):
        begin = time.thread_time_ns()
        call()
        samples.append(time.thread_time_ns() - begin)
    return quantiles(samples[WARM_UP:], n=10)[0] / 1000


def column(count: int, value: int) -> torch.Tensor:
    return torch.full((count,), value)


def of_extents(arena: torch.Tensor, count: int) -> dict[str, Call]:
    src, lengths = torch.arange(count) * PAGE, column(count, PAGE)
    dst = src + count * PAGE
    return {
        f"copy {count} extents": lambda: copy_extents(arena, dst, arena, src, lengths),
        f"zero {count} extents": lambda: zero_extents(arena, dst, lengths),
    }


def of_slots(arena: torch.Tensor) -> dict[str, Call]:
    """None where the kernels have no such ops yet."""
    try:
        from cachepawl_kernels import copy_slots, zero_slots
    except ImportError:
        return {}
    layout, ids = UnitLayout(PAGE, PAGE), torch.arange(8)
    return {
        "copy 4 slots": lambda: copy_slots(arena, layout, ids[:4], ids[4:]),
        "zero 4 slots": lambda: zero_slots(arena, layout, ids[:4]),
    }


def of_rows() -> dict[str, Call]:
    rows, table = torch.arange(64), torch.zeros(64, 4096, dtype=torch.int32)
    columns = rows, column(64, 0), column(64, 4096)
    request, tokens = Runs([(5, 200), (700, 56)]), 4096
    one = RowRuns(
        torch.tensor([5, 700]), torch.tensor([200, 56]), column(1, 2), column(1, 0),
        column(1, tokens),
    )  # fmt: skip
    out = torch.zeros(tokens, dtype=torch.int64)
    return {
        "release 64 rows": lambda: release_rows(table, *columns),
        "token ids of 4096 tokens": lambda: write_token_ids(out, one, PAGE_TOKENS, 1000),
        "the same, built on the host": lambda: torch.from_numpy(token_ids(request, PAGE_TOKENS)),
    }


def main() -> int:
    arena = torch.zeros(600 * PAGE, dtype=torch.uint8)
    staging, page = torch.zeros(16 * PAGE, dtype=torch.uint8), UnitLayout(PAGE, PAGE)
    ids = torch.arange(16)
    rows = {
        **of_extents(arena, 1), **of_extents(arena, 16), **of_extents(arena, 256),
        **of_slots(arena), "gather 16 units": lambda: gather(staging, arena, page, ids),
        **of_rows(),
    }  # fmt: skip
    with not_launched():
        for name, call in rows.items():
            print(f"{name:30} {first_decile_us(call):8.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
