"""What `release_rows` does, in plain torch."""

from __future__ import annotations

import torch


def release_rows_reference(
    table: torch.Tensor,
    rows: torch.Tensor,
    starts: torch.Tensor,
    stops: torch.Tensor,
    sink: int,
) -> None:
    """Same arguments as `release_rows`, on any device, unchecked."""
    for row, start, stop in zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True):
        table[row, start:stop] = sink
