"""How a launcher reaches the device: its table goes up, its kernel starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from cachepawl_kernels.arguments import Column


def upload(columns: Sequence[Column], device: torch.device) -> torch.Tensor:
    """`(n, len(columns))` int64 on `device`, in the order of the current stream, not waited for.

    The rows are written straight into memory that the device reads by itself, and go up in
    one copy.
    """
    pinned = device.type != "cpu"
    shape = (columns[0].size, len(columns))
    host = torch.empty(shape, dtype=torch.int64, pin_memory=pinned)
    table = host.numpy()
    for i, column in enumerate(columns):
        table[:, i] = column
    return host.to(device, non_blocking=True) if pinned else host


def launch(
    kernel: Any, programs: int, device: torch.device, *arguments: Any, **constants: Any
) -> None:
    """Start `programs` programs of `kernel` on the current stream of `device`.

    The launcher has asked `check_runnable` first.  A grid of one dimension: the others end at
    65535 programs.
    """
    # Triton starts a kernel on the current device, wherever its arguments are.
    here: AbstractContextManager[Any] = (
        nullcontext() if device.type == "cpu" else torch.cuda.device(device)
    )
    with here:
        kernel[(programs,)](*arguments, **constants)
