"""What `zero_extents` and `poison_extents` do, in plain torch."""

from __future__ import annotations

import torch


def fill_extents_reference(
    arena: torch.Tensor, offsets: torch.Tensor, lengths: torch.Tensor, byte: int
) -> None:
    """Set every byte of every extent to `byte`, on any device, unchecked."""
    for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        arena[offset : offset + length] = byte
