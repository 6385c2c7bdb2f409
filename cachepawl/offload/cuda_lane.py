"""A lane that is a CUDA stream.  Needs torch.

Only `wait` and `close` wait for the device, and `run` where it fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from cachepawl.offload.lanes import Mark, Work
from cachepawl.offload.transfers import FAILURES


class CudaMark:
    """Events on one stream or several, and what went wrong before they were recorded."""

    def __init__(self, *streams: torch.cuda.Stream, error: Exception | None = None) -> None:
        """The point behind everything that was launched on `streams` so far.

        No stream waits for another: a fence behind a forward does not hold the scheduler's
        stream up.
        """
        self._events = [torch.cuda.Event() for _ in streams]
        for event, stream in zip(self._events, streams, strict=True):
            event.record(stream)
        self._error = error

    def reached(self) -> bool:
        if not all(event.query() for event in self._events):
            return False
        if self._error is not None:
            raise self._error
        return True

    def hold(self) -> None:
        stream = torch.cuda.current_stream()
        for event in self._events:
            stream.wait_event(event)

    def wait(self) -> None:
        with contextlib.suppress(*FAILURES):  # `reached` tells
            for event in self._events:
                event.synchronize()


class CudaLane:
    """A stream of its own.

    `urgent` gives it a higher priority than a forward has, otherwise it has the lowest there is.
    Priorities order kernels; each direction has a copy engine of its own.
    """

    def __init__(self, device: torch.device, *, urgent: bool) -> None:
        # CUDA's higher priorities are its lower numbers, down from 0.
        self._stream = torch.cuda.Stream(device, priority=-1 if urgent else 0)

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        try:
            return self._run(steps, after)
        except FAILURES:
            # No mark tells of the steps that were launched: they must have ended.
            with contextlib.suppress(*FAILURES):
                self._stream.synchronize()
            raise

    def _run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        with torch.cuda.stream(self._stream):
            after.hold()
            marks: list[Mark] = []
            error: Exception | None = None
            for step in steps:
                try:
                    if error is None:
                        step()
                except Exception as raised:
                    error = raised
                # Also behind a step that failed: part of it may be under way, and the failure
                # must not be told before that part has ended.
                marks.append(CudaMark(self._stream, error=error))
            return marks

    def close(self) -> None:
        self._stream.synchronize()
