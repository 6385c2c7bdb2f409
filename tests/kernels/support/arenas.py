"""Arenas for tests: random bytes between two zones that nothing may touch."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

ZONE = 256
"""Bytes before and behind an arena; more than a block of 16-byte accesses may overrun by."""

NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Linux's number; Python 3.11 has no name for it."""


class Fenced(NamedTuple):
    """An arena and all that lies around it."""

    whole: torch.Tensor
    arena: torch.Tensor


def fenced(size: int, device: torch.device, seed: int = 0) -> Fenced:
    """`size` random bytes on `device`."""
    source = torch.Generator().manual_seed(seed)
    whole = torch.randint(0, 256, (size + 2 * ZONE,), dtype=torch.uint8, generator=source)
    whole = whole.to(device)
    return Fenced(whole, whole[ZONE : ZONE + size])


def twin(fence: Fenced) -> Fenced:
    """The same bytes elsewhere, for a reference to work on."""
    whole = fence.whole.clone()
    return Fenced(whole, whole[ZONE : ZONE + fence.arena.numel()])


def assert_same(ours: Fenced, reference: Fenced) -> None:
    """Every byte is as the reference left it, those around the arena too."""
    different = (ours.whole != reference.whole).nonzero().flatten()
    assert not different.numel(), (
        f"{different.numel()} bytes differ, the first at {int(different[0]) - ZONE} of the arena"
    )


def vast(size: int, device: torch.device) -> torch.Tensor:
    """`size` bytes, of which only those that are touched need memory on the CPU.

    With 20 GiB, an index in words of 8 bytes does not fit 32 bits either.
    """
    if device.type == "cpu":
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=torch.uint8)
    torch.cuda.empty_cache()  # what other tests have left there
    free, _ = torch.cuda.mem_get_info(device)
    if free < size + 2**30:
        pytest.skip(f"needs {size} bytes on the GPU, {free} are free")
    return torch.empty(size, dtype=torch.uint8, device=device)


def column(*values: int) -> torch.Tensor:
    """An int64 host tensor."""
    return torch.tensor(values, dtype=torch.int64)


def unchanged_by(fence: Fenced, call: Callable[[], None]) -> None:
    """`call` raises, and no byte is other than before."""
    before = fence.whole.clone()
    try:
        call()
    finally:
        assert torch.equal(fence.whole, before)
