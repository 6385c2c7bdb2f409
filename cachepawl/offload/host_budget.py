"""May the host tier have its bytes?  Asked before a byte of it is reserved.  No torch.

A host tier that the machine cannot hold is not noticed when it is mapped but when it fills up,
and then the kernel kills somebody.  So its size is held against every limit at start.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import ConfigError
from cachepawl.offload.host_memory import limits, lock_limit, numa_nodes
from cachepawl.pool.geometry import Geometry

HEADROOM = 2 << 30
"""Bytes left to everybody else: the server's other processes, buffers, the page cache."""
FLAG = "--cachepawl-host-gb"
GIB = 2**30


class HostSize(NamedTuple):
    """A host tier's size as it was asked for."""

    amount: float
    times_device: bool
    """Multiples of the device arena's bytes; else GiB."""

    def of(self, device_bytes: int) -> int:
        """Bytes beside a device arena of so many."""
        return int(self.amount * (device_bytes if self.times_device else GIB))


def parse_host_size(text: str) -> HostSize:
    """`8`, `0.5`: GiB; `2x`: twice the device arena.

    ConfigError unless it is a positive, finite number.
    """
    times = text.endswith(("x", "X"))
    try:
        amount = float(text[:-1] if times else text)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount) or amount <= 0:
        raise ConfigError(
            f"{FLAG} {text}: give a positive number of GiB, or of the arena's bytes (2x), or "
            f"drop the flag"
        )
    return HostSize(amount, times)


def host_geometry(device: Geometry, budget: int) -> Geometry:
    """The device's shapes over as many whole frames as `budget` bytes of host memory hold.

    ConfigError unless there is a frame besides the sink: frame 0 stays unused on the host too,
    so that a page or slot number means the same kind of place in both arenas.
    """
    host = device.with_budget(budget)
    if host.usable_frames < 1:
        least = 2 * device.frame_bytes
        raise ConfigError(
            f"a host tier of {budget} bytes; the least is two frames of {device.frame_bytes} "
            f"bytes: give {FLAG} {_gib_up(least)} or more, or drop the flag"
        )
    return host


def check_host_budget(
    budget: int, *, tiers: int = 1, headroom: int = HEADROOM, root: Path = Path("/")
) -> None:
    """ConfigError if this machine does not hold `tiers` host tiers of `budget` bytes each.

    `tiers` is the number of ranks on this machine when all are still to be reserved, and 1 for
    a rank that reserves its own: what others have reserved is not available any more.
    Reads a few small files; reserves nothing.
    """
    needed = budget * tiers
    for limit in limits(root):
        most = max(0, limit.free - headroom) // tiers
        if budget > most:
            several = f" on each of {tiers} ranks, {needed} bytes in all" if tiers > 1 else ""
            raise ConfigError(
                f"a host tier of {budget} bytes{several}: {limit.name} leaves {limit.free} "
                f"bytes, of which {headroom} stay free; {_advice(most)}, or {limit.remedy}"
            )


def remote_memory(
    budget: int, gpu_node: int | None, root: Path = Path("/"), *, tiers: int = 1
) -> str | None:
    """Why transfers will cross between NUMA nodes, or None when they will not (or nobody knows).

    Memory of another node works and is slower: a warning, or a reason to refuse, as the caller
    likes.  Memory comes from the node of the CPU that first touches it.  `tiers`: host tiers of
    so many bytes that are still to be reserved on that node, this one among them.
    """
    nodes = numa_nodes(root)
    here = next((node for node in nodes if node.number == gpu_node), None)
    if here is None or len(nodes) < 2:
        return None
    if budget * tiers > here.free:
        several = f" for each of {tiers} ranks" if tiers > 1 else ""
        return (
            f"a host tier of {budget} bytes{several} is more than the {here.free} bytes that are "
            f"free on NUMA node {gpu_node}, where the GPU is: the rest is remote and slower; give "
            f"{FLAG} {_gib_down(here.free // tiers)} or less"
        )
    mine = os.sched_getaffinity(0)
    if here.cpus and not mine & here.cpus:
        return (
            f"this process runs on CPUs {_some(mine)}, none of them on NUMA node {gpu_node}, "
            f"where the GPU is: the host tier's memory is remote and slower; bind the rank to "
            f"that node (--numa-node, numactl --cpunodebind={gpu_node})"
        )
    return None


def pinning_remedy(budget: int) -> str:
    """What may help where page-locking `budget` bytes failed.

    NVIDIA's driver does not count against RLIMIT_MEMLOCK, so a low one refuses nothing
    beforehand; other drivers and sandboxes do.
    """
    most = lock_limit()
    if most < budget:
        return (
            f"this process may lock {most} bytes (ulimit -l): raise it "
            f"(ulimit -l unlimited, docker --ulimit memlock=-1), or give a smaller {FLAG}"
        )
    return f"give a smaller {FLAG}, or allow this process to lock memory (CAP_IPC_LOCK)"


def _advice(most: int) -> str:
    """What to do about a budget of more than `most` bytes."""
    return f"give {FLAG} {_gib_down(most)} or less" if most >= 2**20 else f"drop {FLAG}"


def _some(cpus: set[int]) -> str:
    listed = sorted(cpus)
    return ", ".join(map(str, listed[:8])) + (", ..." if len(listed) > 8 else "")


def _gib_up(count: int) -> str:
    """GiB that are enough for `count` bytes."""
    return f"{math.ceil(count * 10**6 / GIB) / 10**6:.6f}"


def _gib_down(count: int) -> str:
    """GiB that are at most `count` bytes."""
    return f"{math.floor(count * 10**6 / GIB) / 10**6:.6f}"
