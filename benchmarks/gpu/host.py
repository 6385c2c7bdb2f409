"""Pages and states between the tiers: our copies as a share of one plain pinned copy.

`of_pinned` is the bandwidth over that of one copy of as many bytes, in the same direction and
the same run.  Rows with `chosen` are what the server would use; the others are for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

from benchmarks.gpu.bench import POISON, Bench, Row, gbps, must_equal, spread
from benchmarks.gpu.sections import attempt
from benchmarks.gpu.tiers import Tiers, open_tiers, side_stream
from cachepawl.offload.copier import Copier, TorchCopier
from cachepawl.offload.copiers import DMA_FROM
from cachepawl.offload.dma_copier import DmaCopier
from cachepawl.offload.extents import Extents
from cachepawl.offload.kernel_copier import KernelCopier

SMALL = 24 * 1024
COPIERS = ("engines", "one by one", "kernel")


class Case(NamedTuple):
    """Extents of one size, scattered on both sides."""

    what: str
    size: int
    count: int


def measure(bench: Bench) -> Iterator[Row]:
    """A row a direction, a case and a copier."""
    tiers = open_tiers(bench)
    geometry, room = tiers.device.geometry, tiers.device.geometry.total_bytes
    small = SMALL if bench.device.type == "cuda" else 64
    moved = min(bench.sizes.moved_bytes, room // 2)
    cases = [
        Case("states", geometry.state_bytes, 3),
        Case("a run of pages", moved // geometry.page_bytes * geometry.page_bytes, 1),
        Case("pages", geometry.page_bytes, moved // geometry.page_bytes),
        Case("small extents", small, min(1000, moved // small)),
    ]
    try:
        with side_stream(bench):
            for back, case, name in product((False, True), cases, COPIERS):
                # Kernels do not write to the host: see kernel_copier.py.
                if back or name != "kernel":
                    row = partial(_time, bench, tiers, case, name, back)
                    yield attempt(f"{_verb(back)} {case.what} by {name}", row)
    finally:
        bench.wait()
        tiers.arena.close()


def _copier(bench: Bench, name: str) -> Copier:
    if name == "kernel":
        return KernelCopier()
    if name == "engines" and bench.device.type == "cuda":
        return DmaCopier(bench.device)
    return TorchCopier()


def _time(bench: Bench, tiers: Tiers, case: Case, name: str, back: bool) -> Row:
    """`back`: to the device."""
    dst, src = tiers.device.raw, tiers.host.raw
    if not back:
        dst, src = src, dst
    room = tiers.device.geometry.total_bytes
    to, came = (spread(case.count, case.size, room, seed).tolist() for seed in (2, 3))
    extents = Extents(to, came, [case.size] * len(to))
    copier, moved = _copier(bench, name), extents.total

    def ours() -> None:
        copier.extents(dst, src, extents)

    for at in to:
        dst[at : at + case.size] = POISON
    ours()
    bench.wait()
    for at, there in zip(to, came, strict=True):
        ends = dst[at : at + case.size].cpu(), src[there : there + case.size].cpu()
        must_equal(f"{case.what} by {name}", *ends)
    one_us = bench.device_us(lambda: dst[:moved].copy_(src[:moved], non_blocking=True))
    ours_us = bench.device_us(ours)
    return {
        "row": f"{_verb(back)} {case.what}", "by": name,
        "chosen": _chosen(case, name, back), "extent_bytes": case.size, "extents": len(to),
        "moved_bytes": moved, "ours_us": ours_us, "ours_gbps": gbps(moved, ours_us),
        "pinned_us": one_us, "of_pinned": round(one_us / ours_us, 3),
        "host_us": bench.host_us(ours),
    }  # fmt: skip


def _verb(back: bool) -> str:
    return "load" if back else "write"


def _chosen(case: Case, name: str, back: bool) -> bool:
    return name == ("kernel" if back and case.size < DMA_FROM else "engines")
