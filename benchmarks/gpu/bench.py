"""What every section of the GPU benchmark shares: sizes, timing, checks.

Device time is measured with events behind a long fill of another buffer: that fill empties the
L2 cache, and while it runs the host gets ahead, so what lies between the events is the device's
work and not Python's.  Host time is what a launcher takes until it returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch

Row = dict[str, Any]
KIB, MIB = 2**10, 2**20
POISON = 0xA5


class Sizes(NamedTuple):
    """How much a run moves."""

    arena_bytes: int
    moved_bytes: int
    """Of one launch: more than any L2 cache."""
    extents: tuple[int, ...]
    page_bytes: int
    state_bytes: int
    pages: int
    tokens: int
    """Of an attention's sequence."""
    repeats: int


FULL = Sizes(
    arena_bytes=2048 * MIB,
    moved_bytes=256 * MIB,
    extents=(1 * KIB, 4 * KIB, 16 * KIB, 24 * KIB, 64 * KIB, 384 * KIB, 1 * MIB, 16 * MIB),
    page_bytes=24 * KIB,
    state_bytes=72 * MIB,
    pages=1000,
    tokens=4096,
    repeats=30,
)
DRY = Sizes(256 * KIB, 16 * KIB, (256, 4 * KIB), 512, 8 * KIB, 12, 64, 1)
"""For the interpreter: does it run, and are the results right?"""


class Bench:
    """Times calls on one device."""

    def __init__(self, device: torch.device, sizes: Sizes) -> None:
        self.device = device
        self.sizes = sizes
        # Several times the largest L2 cache.
        blocker = 512 * MIB if device.type == "cuda" else 1
        self._blocker = torch.empty(blocker, dtype=torch.uint8, device=device)
        self._fill_us = self._time_a_fill() if device.type == "cuda" else 0.0

    def arena(self, size: int | None = None) -> torch.Tensor:
        """Random bytes."""
        count = (size or self.sizes.arena_bytes) // 8
        words = torch.randint(-(2**62), 2**62, (count,), dtype=torch.int64, device=self.device)
        return words.view(torch.uint8)

    def device_us(self, call: Callable[[], Any]) -> float:
        """Median microseconds of the device's work of `call`."""
        if self.device.type != "cuda":
            return self.host_us(call)
        call()
        # The fills must outlast the host's part of the call, or its time would be measured.
        fills = 2 + int(2 * self.host_us(call, repeats=3) / self._fill_us)
        return round(median(self._between_events(call, fills) for _ in self._turns), 2)

    @property
    def _turns(self) -> range:
        return range(self.sizes.repeats)

    def _between_events(self, call: Callable[[], Any], fills: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(fills):
            self._blocker.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end) * 1000)

    def _time_a_fill(self) -> float:
        self._between_events(self._blocker.zero_, 2)
        return self._between_events(self._blocker.zero_, 2)

    def host_us(self, call: Callable[[], Any], repeats: int | None = None) -> float:
        """Median microseconds until `call` returns; nothing is waited for inside."""
        samples = []
        for _ in range(repeats or self.sizes.repeats):
            begin = time.perf_counter_ns()
            call()
            samples.append((time.perf_counter_ns() - begin) / 1000)
            self.wait()
        return round(median(samples), 2)

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def gbps(nbytes: int, microseconds: float) -> float:
    """Gigabytes (10^9) a second."""
    return round(nbytes / microseconds / 1000, 1)


def must_equal(what: str, ours: torch.Tensor, reference: torch.Tensor) -> None:
    """A figure of a wrong result is none."""
    if not torch.equal(ours, reference):
        different = int((ours != reference).sum())
        raise AssertionError(f"{what}: {different} elements differ from the reference")


def spread(count: int, size: int, room: int, seed: int = 0) -> torch.Tensor:
    """`count` offsets of extents of `size` bytes in `room` bytes, apart and in no order."""
    source = torch.Generator().manual_seed(seed)
    return torch.randperm(room // size, generator=source)[:count] * size
