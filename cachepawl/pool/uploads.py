"""Host arrays on their way to the device.  Needs torch."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch


def to_device(array: npt.NDArray[Any], device: torch.device | str) -> torch.Tensor:
    """`array` on `device`, in the order of the current stream, without waiting for it.

    By way of page-locked memory: from any other, the copy may wait for all that was issued
    before it.  On the CPU, the array itself.
    """
    host, target = torch.from_numpy(array), torch.device(device)
    if target.type == "cpu":
        return host
    # Only an accelerator's driver can lock pages; `meta` is a device of tests.
    locked = host if target.type == "meta" else host.pin_memory()
    return locked.to(target, non_blocking=True)
