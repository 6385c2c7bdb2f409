"""SGLang's own kernels, timed beside ours where it is installed; None where it is not."""

from __future__ import annotations

import torch

from benchmarks.gpu.bench import Bench


def _on_a_gpu(arena: torch.Tensor) -> bool:
    # On the CPU SGLang's launchers fall back to torch's indexing.
    return arena.is_cuda


def copy_pages_us(
    bench: Bench, arena: torch.Tensor, to: torch.Tensor, came: torch.Tensor, size: int
) -> float | None:
    """SGLang's copy of whole pages inside one pool."""
    try:
        from sglang.kernels.ops.kvcache.copy_pages import copy_pages
    except ImportError:
        return None
    if not _on_a_gpu(arena):
        return None
    units = arena.numel() // size
    return bench.device_us(lambda: copy_pages(arena, to, came, units, size))


def zero_pages_us(
    bench: Bench, arena: torch.Tensor, places: torch.Tensor, size: int
) -> float | None:
    """SGLang's clearing of whole pages of one pool."""
    try:
        from sglang.kernels.ops.kvcache.zero_pages import zero_pages
    except ImportError:
        return None
    if not _on_a_gpu(arena):
        return None
    units = arena.numel() // size
    return bench.device_us(lambda: zero_pages(arena, places, units, size))
