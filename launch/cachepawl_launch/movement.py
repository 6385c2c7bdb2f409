"""Chooses who moves the arena's bytes, once, before the arena exists."""

from __future__ import annotations

import logging

import torch

from cachepawl.errors import ConfigError
from cachepawl.pool.copy_order import Kind
from cachepawl.pool.movement import Movement, States, TorchMovement, Units
from cachepawl.pool.moves import Move
from cachepawl.pool.state_codec import Forms
from cachepawl.pool.triton_movement import FallingBack, TritonMovement

logger = logging.getLogger(__name__)

UNIT, UNITS = 4096, 8
"""Bytes of a unit, and units, of what is moved for a trial."""


def choose_movement(how: str, device: str, forms: Forms | None = None) -> Movement:
    """`how` is `--cachepawl-movement`: torch, triton, or auto; `forms` of compressed states.

    auto takes the kernels on a GPU, unless a trial fails there: torch then, and a line in the
    log.  triton raises ConfigError instead.  The trial compiles the kernels, so that none is
    compiled while the server serves.
    """
    if how == "torch" or (how == "auto" and torch.device(device).type != "cuda"):
        return TorchMovement()
    chosen = FallingBack(TritonMovement(), TorchMovement())
    try:
        try_out(TritonMovement(), device, forms)
    except Exception as error:
        if how == "triton":
            raise ConfigError(
                f"--cachepawl-movement triton: the kernels do not run on {device} "
                f"({type(error).__name__}: {error}); use auto or torch"
            ) from error
        chosen.fall_back(error)
    logger.info("cachepawl: the arena's bytes are moved by %s", chosen.name)
    return chosen


def try_out(movement: Movement, device: str, forms: Forms | None = None) -> None:
    """RuntimeError unless `movement` does to some bytes on `device` what torch does.

    Waits for the device.
    """
    ours = torch.arange(UNIT * UNITS, device=device).to(torch.uint8)
    plain = ours.clone()
    for one, raw in ((movement, ours), (TorchMovement(), plain)):
        ids = torch.arange(UNITS, device=device)
        states, pages = Units(raw, UNIT, UNIT - 64), Units(raw, UNIT, UNIT)
        one.copy_units(states, ids[1:3], ids[4:6])
        one.zero_units(states, ids[1:2])
        one.move_runs(pages, [Move(4, 6, 2)])
        one.zero_listed(pages, [3])
    if not torch.equal(ours, plain):
        raise RuntimeError("a trial copy came out wrong")
    if forms is not None:
        _try_forks(movement, device, forms.small())


def _try_forks(movement: Movement, device: str, forms: Forms) -> None:
    """A state and what becomes of it, side by side: whole, coded, moved, whole again."""
    whole, coded = forms
    order = [(Kind.COMPRESS, 1, 0), (Kind.MOVE, 2, 1), (Kind.EXPAND, 3, 2)]
    sizes = [whole.stride, coded.stride, coded.stride, whole.stride]
    starts = [torch.tensor([sum(sizes[:i])]) for i in range(len(sizes))]
    numbers = torch.linspace(-3, 3, sum(sizes) // 4, device=device)
    ours = numbers.view(torch.uint8).clone()
    plain = ours.clone()
    for one, raw in ((movement, ours), (TorchMovement(), plain)):
        for kind, to, came in order:
            dst, src = forms.pair(kind)
            one.fork_states(raw, States(dst, starts[to]), States(src, starts[came]))
    if not torch.equal(ours, plain):
        raise RuntimeError("a trial conversion of a state came out wrong")
