"""SGLang's own kernels, timed beside ours where it is installed; None where it is not.

They are there for comparison: one that fails is a word in its column and no end of our row.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.machine import missing


def copy_pages_us(
    bench: Bench, arena: torch.Tensor, to: torch.Tensor, came: torch.Tensor, size: int
) -> float | str | None:
    """SGLang's copy of whole pages inside one pool."""
    units = arena.numel() // size
    return _us(bench, arena, "copy_pages", lambda copy: copy(arena, to, came, units, size))


def zero_pages_us(
    bench: Bench, arena: torch.Tensor, places: torch.Tensor, size: int
) -> float | str | None:
    """SGLang's clearing of whole pages of one pool."""
    units = arena.numel() // size
    return _us(bench, arena, "zero_pages", lambda zero: zero(arena, places, units, size))


def _us(
    bench: Bench, arena: torch.Tensor, name: str, call: Callable[[Any], object]
) -> float | str | None:
    # On the CPU SGLang's launchers fall back to torch's indexing.
    if not arena.is_cuda or missing(["sglang"]):
        return None
    try:
        kernel = getattr(import_module(f"sglang.kernels.ops.kvcache.{name}"), name)
        return bench.device_us(lambda: call(kernel))
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"[:200]
