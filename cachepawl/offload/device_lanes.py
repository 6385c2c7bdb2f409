"""The two lanes that suit a device.  Needs torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cachepawl.offload.arena_transfers import Lanes
from cachepawl.offload.cuda_lane import CudaLane, CudaMark
from cachepawl.offload.lanes import NOW, InlineLane, Mark, ThreadLane


def lanes_for(
    device: torch.device, *, fence: Callable[[], Mark] | None = None, threads: bool = False
) -> Lanes:
    """Streams on a GPU; on a CPU copies at once, or with `threads` beside the caller.

    Without a `fence` copies come after what the current stream was given, so a caller that
    launches on several streams brings one that covers them all.
    """
    if device.type == "cuda":
        return Lanes(
            CudaLane(device, urgent=False),
            CudaLane(device, urgent=True),
            fence or (lambda: CudaMark(torch.cuda.current_stream(device))),
        )
    # Here the caller computes itself: what it launched has ended.
    now = fence or (lambda: NOW)
    if threads:
        return Lanes(ThreadLane("cachepawl write back"), ThreadLane("cachepawl load back"), now)
    return Lanes(InlineLane(), InlineLane(), now)
