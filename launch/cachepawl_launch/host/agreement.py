"""What all ranks have finished: they must take the same transfers in the same step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from cachepawl.offload.tickets import Ready

Agree = Callable[[Ready], Ready]
"""What one rank has ended -> what all have.  Every rank calls it in the same step."""


def agreement(group: Any) -> Agree:
    """The element-wise least over the ranks of a CPU process group; alone, nobody is asked."""
    if group is None or dist.get_world_size(group) == 1:
        return lambda mine: mine

    def agree(mine: Ready) -> Ready:
        counts = torch.tensor(mine, dtype=torch.int64)
        dist.all_reduce(counts, op=dist.ReduceOp.MIN, group=group)
        return Ready(*counts.tolist())

    return agree
