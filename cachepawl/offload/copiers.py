"""Which copier does what on which device.  Needs torch.

write back    copy engines, always                    (see kernel_copier.py)
load back     extents of DMA_FROM bytes and more: copy engines; shorter ones, and rows of
              layers: a kernel
on a CPU      torch, both ways
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl.offload.copier import Copier, TokenRows, TorchCopier
from cachepawl.offload.dma_copier import DmaCopier
from cachepawl.offload.extents import Extents, Piece

DMA_FROM = 128 << 10
"""Bytes of an extent from which on a copy engine is used.

A copy takes a copy engine about 2.3 us to begin, and a kernel reaches about 64 % of a PCIe 5
link of 55 GB/s: below 2.3 us x 35 GB/s = 80 KiB the kernel is ahead.  The next power of two,
because its multiprocessors are wanted elsewhere.  `python -m benchmarks.gpu.run --only host`
measures both.
"""


class BySize:
    """Long extents by one copier, short ones and rows by another."""

    def __init__(self, long: Copier, short: Copier, least: int = DMA_FROM) -> None:
        self._long = long
        self._short = short
        self._least = least

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        long, short = Extents([], [], []), Extents([], [], [])
        for to, came, count in zip(*extents, strict=True):
            chosen = long if count >= self._least else short
            chosen.target.append(to)
            chosen.source.append(came)
            chosen.nbytes.append(count)
        for copier, part in ((self._long, long), (self._short, short)):
            if part.nbytes:
                copier.extents(dst, src, part)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        self._short.rows(dst, src, pieces, rows)


class Copiers(NamedTuple):
    """What copies what."""

    write: Copier
    """Pages and states to the host."""
    load: Copier
    """Pages to the device."""
    load_states: Copier
    """States to the device."""


def copies_rows(copier: Copier) -> bool:
    """Whether the copier has `rows`: copy engines without `cuda.bindings` have not."""
    return not isinstance(copier, DmaCopier) or copier.pitched


def copiers_for(device: torch.device, kernel: Copier | None = None) -> Copiers:
    """What suits `device`; `kernel` copies what is short, where there is a GPU.

    Without a kernel the copy engines load everything, layers as pitched rows.
    """
    if device.type != "cuda":
        return Copiers(*[TorchCopier()] * 3)
    engines = DmaCopier(device)
    load = engines if kernel is None else BySize(engines, kernel)
    return Copiers(engines, load, load)
