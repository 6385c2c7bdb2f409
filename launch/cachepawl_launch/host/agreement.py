"""What all ranks have finished: they must take the same transfers in the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from cachepawl.offload.tickets import Ready

UNKNOWN = -1
"""No NUMA node."""
Agree = Callable[[Ready], Ready]
"""What one rank has ended -> what all have.  Every rank calls it in the same step."""


def agreement(group: Any) -> Agree:
    """The element-wise least over the ranks of a CPU process group; alone, nobody is asked."""
    if group is None or dist.get_world_size(group) == 1:
        return lambda mine: mine

    return lambda mine: Ready(*_least(mine, group))


def all_well(group: Any) -> Callable[[bool], bool]:
    """Whether all ranks of a CPU process group say yes; alone, one's own answer."""
    if group is None or dist.get_world_size(group) == 1:
        return lambda well: well
    return lambda well: bool(_least([well], group)[0])


def ranks_here(group: Any, machines: int) -> int:
    """Ranks of a process group on this machine, of so many that share them evenly."""
    return 1 if group is None else max(1, dist.get_world_size(group) // machines)


def nodes_here(group: Any, machines: int) -> Callable[[int | None], list[int | None]]:
    """The NUMA nodes of the GPUs of all ranks on this machine, from one's own."""
    if group is None or dist.get_world_size(group) == 1:
        return lambda node: [node]

    here = ranks_here(group, machines)

    def all_nodes(node: int | None) -> list[int | None]:
        mine = torch.tensor([UNKNOWN if node is None else node])
        found = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
        dist.all_gather(found, mine, group=group)
        first = dist.get_rank(group) // here * here
        numbers = [int(number) for number in found[first : first + here]]
        return [None if number == UNKNOWN else number for number in numbers]

    return all_nodes


def _least(mine: Sequence[int], group: Any) -> list[int]:
    counts = torch.tensor(mine, dtype=torch.int64)
    dist.all_reduce(counts, op=dist.ReduceOp.MIN, group=group)
    return [int(count) for count in counts.tolist()]
