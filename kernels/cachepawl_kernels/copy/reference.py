"""What `copy_extents` does, in plain torch."""

from __future__ import annotations

import torch


def copy_extents_reference(
    dst: torch.Tensor,
    dst_offsets: torch.Tensor,
    src: torch.Tensor,
    src_offsets: torch.Tensor,
    lengths: torch.Tensor,
) -> None:
    """Copy extent after extent.  Same arguments as `copy_extents`, on any device, unchecked."""
    columns = (dst_offsets.tolist(), src_offsets.tolist(), lengths.tolist())
    for to, came, length in zip(*columns, strict=True):
        dst[to : to + length] = src[came : came + length]
