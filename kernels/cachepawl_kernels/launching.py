"""How a launcher reaches the device: its table goes up, its kernel starts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton

from cachepawl_kernels.errors import KernelArgumentError


def check_runnable(kernel: Any, device: torch.device) -> None:
    """A compiled kernel needs a GPU tensor; an interpreted one takes CPU tensors as well."""
    if device.type == "cpu" and isinstance(kernel, triton.runtime.JITFunction):
        raise KernelArgumentError(
            "the arena is on cpu and the kernel is compiled; use the op's reference there, "
            "or set TRITON_INTERPRET=1 before triton is imported"
        )


def upload(table: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`table` on `device`, in the order of the current stream, without waiting for it."""
    if device.type == "cpu":
        return table
    return table.pin_memory().to(device, non_blocking=True)


def launch(
    kernel: Any, programs: int, device: torch.device, *arguments: Any, **constants: Any
) -> None:
    """Start `programs` programs of `kernel` on the current stream of `device`.

    A grid of one dimension: the others end at 65535 programs.
    """
    check_runnable(kernel, device)
    # Triton starts a kernel on the current device, wherever its arguments are.
    here: AbstractContextManager[Any] = (
        nullcontext() if device.type == "cpu" else torch.cuda.device(device)
    )
    with here:
        kernel[(programs,)](*arguments, **constants)
