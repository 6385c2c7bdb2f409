"""Which devices the kernels run on, asked before anything is built for one.

What is said of a device is found once and kept: a launch pays for a look into a dictionary.
"""

from __future__ import annotations

from functools import cache

import torch
import triton

from cachepawl_kernels.errors import KernelArgumentError

LEAST_CAPABILITY = (8, 0)
"""Of NVIDIA's: what the kernels are compiled for in the tests starts here."""
ARCHITECTURES = ("gfx942",)
"""Of AMD's."""
INTERPRETED: bool = triton.knobs.runtime.interpret
"""Triton decides it for every kernel where its module is imported, as here."""

REMEDY = "use the op's reference there"


def check_runnable(device: torch.device) -> None:
    """KernelArgumentError unless kernels, as they are in this process, run on `device`."""
    why = why_not(device)
    if why is not None:
        raise KernelArgumentError(why)


@cache
def why_not(device: torch.device) -> str | None:
    """Why kernels do not run on `device`: what it is, what they need, what to do.  None: they do.

    Does not wait for the device.
    """
    if INTERPRETED:
        if device.type in ("cpu", "cuda"):
            return None
        return f"interpreted kernels do not run on {device}, only on cpu and cuda; {REMEDY}"
    if device.type != "cuda":
        return (
            f"compiled kernels do not run on {device}, only on cuda; {REMEDY}, "
            f"or, on cpu, set TRITON_INTERPRET=1 before triton is imported"
        )
    return _amd(device) if torch.version.hip else _nvidia(device)


def _nvidia(device: torch.device) -> str | None:
    found = torch.cuda.get_device_capability(device)
    if found >= LEAST_CAPABILITY:
        return None
    have, need = (".".join(map(str, version)) for version in (found, LEAST_CAPABILITY))
    return f"{device} has compute capability {have}; kernels need {need} at least; {REMEDY}"


def _amd(device: torch.device) -> str | None:
    # "gfx942:sramecc+:xnack-": what follows the colon does not matter here.
    found = torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
    if found in ARCHITECTURES:
        return None
    return f"{device} is {found}; kernels run on {', '.join(ARCHITECTURES)}; {REMEDY}"
