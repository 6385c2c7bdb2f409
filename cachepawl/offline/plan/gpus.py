"""Memory of common GPUs in MiB: `memory.total` as nvidia-smi prints it.

It is less than the name says, for some is kept back for error correction and the driver.
SGLang reads the same figure (`get_device_memory_capacity`).
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from cachepawl.errors import InputError

GPUS = {
    "l4-24gb": 23034,
    "rtx4090-24gb": 24564,
    "rtx5090-32gb": 32607,
    "a100-40gb": 40960,
    "l40s-48gb": 46068,
    "a100-80gb": 81920,
    "h100-80gb": 81559,
    "h20-96gb": 97871,
    "gh200-96gb": 97871,
    "h200-141gb": 143771,
    "b200-180gb": 183359,
}


class Gpu(NamedTuple):
    """A GPU of the table."""

    name: str
    bytes: int


def find_gpu(name: str) -> Gpu:
    """The GPU of that name or beginning, any case; InputError when none or several have it."""
    wanted = name.lower()
    whole = [known for known in GPUS if wanted in (known, known.partition("-")[0])]
    begun = whole or [known for known in GPUS if wanted and known.startswith(wanted)]
    if len(begun) == 1:
        return Gpu(begun[0], GPUS[begun[0]] << 20)
    near = begun or difflib.get_close_matches(wanted, GPUS, n=3, cutoff=0.4) or list(GPUS)
    raise InputError(f"--gpu {name[:40]}: one of {', '.join(near)}, or --gpu-gb with its memory")
