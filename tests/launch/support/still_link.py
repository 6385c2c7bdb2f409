"""Copies between a device without data and the host that end when they are told to.

Streams, as far as the host sees them: copies are submitted at once and have arrived later.  Who
asks (`reached`) is answered, who makes a stream wait (`hold`) does not wait, and who waits
(`wait`) for what has not arrived is told off, unless waiting is allowed.
"""

# ruff: noqa: N802, N815 - CUDA's names
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from cuda.bindings import runtime
from device_guard import DeviceWaitError

from cachepawl.offload.lanes import Mark, Work


class StillLink:
    """A lane."""

    def __init__(self) -> None:
        self.submitted = self.arrived = 0
        self.asked = self.held = self.waited = 0
        self.may_wait = False

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        """Submits, as a stream's lane does."""
        marks: list[Mark] = []
        for step in steps:
            step()
            self.submitted += 1
            marks.append(StillMark(self, self.submitted))
        return marks

    def arrive(self) -> None:
        """All that was submitted."""
        self.arrived = self.submitted

    def close(self) -> None:
        self.arrive()


class StillMark:
    """A point in it."""

    def __init__(self, link: StillLink, number: int) -> None:
        self._link = link
        self._number = number

    def reached(self) -> bool:
        self._link.asked += 1
        return self._link.arrived >= self._number

    def hold(self) -> None:
        self._link.held += 1

    def wait(self) -> None:
        link = self._link
        if link.arrived >= self._number:
            return
        if not link.may_wait:
            raise DeviceWaitError("the host waits for a copy")
        link.waited += 1
        link.arrived = self._number


class Engines:
    """CUDA's runtime as the copy engines are given orders by it; `moved` counts bytes."""

    cudaMemcpyAttributes = runtime.cudaMemcpyAttributes
    cudaMemcpySrcAccessOrder = runtime.cudaMemcpySrcAccessOrder
    cudaMemcpyKind = runtime.cudaMemcpyKind

    def __init__(self) -> None:
        self.moved = 0

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        return (0,)

    def cudaMemcpyBatchAsync(
        self, to: list[int], came: list[int], sizes: list[int], *rest: Any
    ) -> tuple[int]:
        self.moved += sum(sizes)
        return (0,)

    def cudaMemcpy2DAsync(
        self, to: int, to_pitch: int, came: int, pitch: int, width: int, height: int, *rest: Any
    ) -> tuple[int]:
        self.moved += width * height
        return (0,)


META = torch.device("meta")
