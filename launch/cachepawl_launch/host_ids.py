"""State slot ids that cross between the host's truth and device tensors without a sync.

A single id handed to SGLang is a one-element view of a constant device table; the
host reads it back from the view's storage offset.  Ids that SGLang copied on the way
(stacked, cloned) have to be read from the device, which is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cachepawl.pool.uploads import to_device


class HostIds:
    """Ids `[0, n)` on a device."""

    def __init__(self, n: int, device: str) -> None:
        self.table = torch.arange(n, dtype=torch.int64, device=device)
        self.device_reads = 0

    def to_device(self, ids: Sequence[int]) -> torch.Tensor:
        """`(len(ids),)` int64; a view of the table for a single id."""
        if len(ids) == 1:
            return self.table[ids[0] : ids[0] + 1]
        return to_device(np.array(ids, np.int64), self.table.device)

    def to_host(self, index: torch.Tensor) -> list[int]:
        """The ids in a tensor of any shape."""
        # The same storage, not the same address: a `meta` tensor has none.
        same = index.untyped_storage()._cdata == self.table.untyped_storage()._cdata
        if same and index.numel() == 1:
            return [int(index.storage_offset())]
        self.device_reads += 1
        return [int(i) for i in index.detach().reshape(-1).tolist()]
