"""What `copy_slots` and `zero_slots` do, in plain torch."""

from __future__ import annotations

import torch

from cachepawl_kernels.transfer.layout import UnitLayout
from cachepawl_kernels.transfer.reference import units_of


def copy_slots_reference(
    arena: torch.Tensor, layout: UnitLayout, dst_ids: torch.Tensor, src_ids: torch.Tensor
) -> None:
    """Same arguments as `copy_slots`, on any device, unchecked."""
    slots = units_of(arena, layout)
    known = _known(dst_ids, len(slots)) & _known(src_ids, len(slots))
    slots[dst_ids[known]] = slots[src_ids[known]]


def zero_slots_reference(arena: torch.Tensor, layout: UnitLayout, ids: torch.Tensor) -> None:
    """Same arguments as `zero_slots`, on any device, unchecked."""
    slots = units_of(arena, layout)
    slots[ids[_known(ids, len(slots))]] = 0


def _known(ids: torch.Tensor, limit: int) -> torch.Tensor:
    return (ids >= 0) & (ids < limit)
