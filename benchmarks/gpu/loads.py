"""Loads behind a forward: how much of a load the forward has to wait for, and does a step wait.

The forward is a number of matrix products a layer.  `exposed` is what it takes longer with a
load that it waits for layer by layer, as a share of what the load takes alone; a load that was
not overlapped has 1.  `blocked` is the host's time in a step, over the time of the device work
that was queued before it: near 0 if nothing waits, 1 if anything does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import torch

from benchmarks.gpu.bench import POISON, Bench, Row, gbps, must_equal
from benchmarks.gpu.sections import attempt
from benchmarks.gpu.tiers import Tiers, open_tiers, side_stream
from cachepawl.offload.arena_transfers import ArenaTransfers
from cachepawl.offload.copiers import Copiers, copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.kernel_copier import KernelCopier
from cachepawl.offload.layers import GROUP_BYTES, WHOLE_PAGES
from cachepawl.offload.transfers import Copy, Direction, Order
from cachepawl.types import Runs

PAGES = 256
STEP = "step behind queued work"


def measure(bench: Bench) -> Iterator[Row]:
    """A row a way to load, and one for a step's host time."""
    tiers = open_tiers(bench)
    on_gpu = bench.device.type == "cuda"
    kernel = copiers_for(bench.device, KernelCopier())
    ways = {
        "whole pages": (kernel, WHOLE_PAGES),
        "layers by kernel": (kernel, GROUP_BYTES if on_gpu else 1),
        "layers by pitched copies": (copiers_for(bench.device), GROUP_BYTES if on_gpu else 1),
    }
    try:
        with side_stream(bench):
            forward = _forward(bench, tiers.device.geometry.kv.layers)
            for name, way in ways.items():
                with closing(_transfers(bench, tiers, *way)) as transfers:
                    load = partial(_load, bench, tiers, name, transfers, forward)
                    yield attempt(f"load {name}", load)
            with closing(_transfers(bench, tiers, kernel, 1)) as transfers:
                yield attempt(STEP, partial(_step, bench, tiers, transfers))
    finally:
        bench.wait()
        tiers.arena.close()


def _forward(bench: Bench, layers: int) -> Callable[[Callable[[int], None]], None]:
    """Runs `layers` layers of work, each after `before(layer)`."""
    size, products = (4096, 4) if bench.device.type == "cuda" else (8, 1)
    kind = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    left = torch.randn(size, size, device=bench.device, dtype=kind)
    out = torch.empty_like(left)

    def forward(before: Callable[[int], None]) -> None:
        for layer in range(layers):
            before(layer)
            for _ in range(products):
                torch.mm(left, left, out=out)

    return forward


def _load(
    bench: Bench,
    tiers: Tiers,
    name: str,
    transfers: ArenaTransfers,
    forward: Callable[[Callable[[int], None]], None],
) -> Row:
    geometry = tiers.device.geometry
    first, last = geometry.pages_per_frame, geometry.kv.layers - 1
    count = min(PAGES, geometry.usable_frames * first // 2)
    # Runs of 16 pages, as a request's pages lie, and in another order on the other side.
    runs = [(first + at, min(16, count - at)) for at in range(0, count, 16)]
    copy = Copy(Runs(runs), Runs(runs[::-1]), (), ())
    if runs and runs[-1][1] != runs[0][1]:
        copy = copy._replace(pages_to=Runs([(first, count)]))
    order = Order(0, Direction.LOAD_BACK, copy)

    def begin() -> None:
        transfers.finished()
        transfers.start(order)
        transfers.begin_loads()

    def alone() -> None:
        begin()
        transfers.wait_layer(last)

    def both() -> None:
        begin()
        forward(transfers.wait_layer)

    device = tiers.device.raw[: geometry.total_bytes].view(-1, geometry.page_bytes)
    device[list(copy.pages_to)] = POISON
    both()
    bench.wait()
    must_equal(name, device[list(copy.pages_to)].cpu(), tiers.arena.pages[list(copy.pages_from)])
    alone_us, forward_us = bench.device_us(alone), bench.device_us(lambda: forward(lambda _: None))
    both_us = bench.device_us(both)
    moved = count * geometry.page_bytes
    return {
        "row": f"load {name}", "pages": count, "moved_bytes": moved, "load_us": alone_us,
        "load_gbps": gbps(moved, alone_us), "forward_us": forward_us, "both_us": both_us,
        "exposed": round(max(0.0, both_us - forward_us) / alone_us, 3),
        "host_us": bench.host_us(begin),
    }  # fmt: skip


def _step(bench: Bench, tiers: Tiers, transfers: ArenaTransfers) -> Row:
    """A write-back and a load in a step, while the device has much to do before them."""
    first = tiers.device.geometry.pages_per_frame
    pages = [Runs([(first + n, 1)]) for n in range(2)]
    orders = [
        Order(n, direction, Copy(pages[n], pages[n], (), ()))
        for n, direction in enumerate(Direction)
    ]
    work = torch.zeros(2**30 if bench.device.type == "cuda" else 8, device=bench.device)

    def step() -> None:
        for order in orders:
            transfers.start(order)
        transfers.begin_loads()
        transfers.wait_states()
        transfers.wait_layer(0)
        transfers.finished()

    step()
    bench.wait()
    begin = time.perf_counter()
    for _ in range(50):
        work.add_(1)
    queued = time.perf_counter()
    step()
    stepped = time.perf_counter()
    bench.wait()
    ended = time.perf_counter()
    return {
        "row": STEP, "queued_us": round((ended - begin) * 1e6, 1),
        "host_us": round((stepped - queued) * 1e6, 1),
        "blocked": round((stepped - queued) / (ended - begin), 3),
    }  # fmt: skip


def _transfers(bench: Bench, tiers: Tiers, copiers: Copiers, group_bytes: int) -> ArenaTransfers:
    return ArenaTransfers(
        tiers.device, tiers.host, copiers, lanes_for(bench.device), group_bytes=group_bytes
    )
