"""A trial of a copier between the arenas, before anything is served.  Needs torch.

It compiles the copier's kernels, so that none is compiled, and none fails to be, in a step.
"""

from __future__ import annotations

import logging

import torch

from cachepawl.offload.arena_transfers import Side
from cachepawl.offload.copier import Copier, TokenRows, TorchCopier
from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.layers import layer_groups

logger = logging.getLogger(__name__)

ALIGN = 16
"""Bytes; a kernel copies whole multiples of it."""


def tried(copier: Copier, device: torch.device, host: Side) -> Copier | None:
    """The copier if it loads to `device` what torch does; None, said in the log, if not.

    Copies from the host's page 0, which nothing uses, to memory of its own, and waits.
    """
    try:
        _try_out(copier, device, host)
    except Exception as error:  # whatever a compiler or a driver raises
        logger.warning(
            "cachepawl: no kernel copies short extents for the host tier, copy engines do all, "
            "slower: %s: %s",
            type(error).__name__,
            next(iter(str(error).strip().splitlines()), ""),
        )
        return None
    return copier


def _try_out(copier: Copier, device: torch.device, host: Side) -> None:
    page = host.raw[: host.geometry.page_bytes]
    try:
        page.copy_(torch.arange(page.numel()).add_(1))  # wraps; what is not copied stays 0
        ours = torch.zeros(page.numel(), dtype=torch.uint8, device=device)
        plain = torch.zeros_like(page)
        for one, dst in ((copier, ours), (TorchCopier(), plain)):
            _copy(one, dst, host)
        if not torch.equal(ours.cpu(), plain):
            raise RuntimeError("a trial copy came out wrong")
    finally:
        page.zero_()


def _copy(copier: Copier, dst: torch.Tensor, host: Side) -> None:
    """What a load is made of: an extent, here the end of a page, and the rows of a layer."""
    geometry = host.geometry
    size = max(ALIGN, geometry.entry_bytes // 2 // ALIGN * ALIGN)
    last = geometry.page_bytes - size
    copier.extents(dst, host.raw, Extents([last], [last], [size]))
    first, *_ = layer_groups(geometry.kv, geometry.kv.layers)
    copier.rows(dst, host.raw, [Piece(0, 0, 1)], TokenRows.of(first, geometry))
