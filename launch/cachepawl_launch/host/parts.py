"""Opens the host tier's memory and what copies to and from it, for one rank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from cachepawl.offload.arena_transfers import ArenaTransfers, Side
from cachepawl.offload.copier import Copier
from cachepawl.offload.copiers import Copiers, copiers_for, copies_rows
from cachepawl.offload.cuda_lane import CudaMark
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.faults import FaultyTransfers, parse_script
from cachepawl.offload.faulty_copiers import Shortage, check_kind, corrupted, slowed
from cachepawl.offload.host_arena import HostArena
from cachepawl.offload.kernel_copier import KernelCopier
from cachepawl.offload.lanes import Mark
from cachepawl.offload.layers import WHOLE_PAGES
from cachepawl.offload.transfers import Transfers
from cachepawl.offload.trial import tried
from cachepawl.pool.arena import Arena
from cachepawl_launch.host.machine import HERE, Machine

logger = logging.getLogger(__name__)

Streams = Callable[[], Sequence[torch.cuda.Stream]]
"""Streams, beside the current one, on which forwards and copies within the arena are launched."""


@dataclass(frozen=True)
class HostFaults:
    """Test options: what is to go wrong."""

    script: str | None = None
    """Faults by order; see `cachepawl.offload.faults`."""
    corrupt: str | None = None
    """`pages` or `states`: what is loaded of them arrives as zeros, a negative control."""
    seconds: float = 0.0
    """What each copy takes longer."""
    blind: bool = False
    """A negative control: no layer waits for its bytes."""


class HostParts(NamedTuple):
    """One rank's host tier, without what decides."""

    arena: HostArena
    copies: ArenaTransfers
    """`begin_loads` once a step behind admission; `close` at the end."""
    orders: Transfers
    """What decides gives its orders to: `copies`, with the injected faults around it."""

    def close(self) -> None:
        """Wait for all copies, end the lanes, unlock the memory."""
        self.copies.close()
        self.arena.close()


def open_host(
    device: Arena,
    budget: int,
    streams: Streams,
    faults: HostFaults = HostFaults(),
    group_bytes: int = WHOLE_PAGES,
    machine: Machine = HERE,
) -> HostParts:
    """`budget` bytes of host memory for a device arena.

    On a CPU copies are made by threads: as asynchronous as on a GPU.  ConfigError when the
    machine does not hold or lock the budget, or for a wrong fault; nothing is reserved then.
    Every rank calls it at the same time: `machine` asks all of them before any reserves.
    `group_bytes`: see `layers`; by default no load is cut, for requests that wait for all of it.
    """
    script = None if faults.script is None else parse_script(faults.script)
    if faults.corrupt is not None:
        check_kind(faults.corrupt)
    where = device.raw.device
    machine.check(budget, where)
    arena = HostArena(device.geometry, budget, pinned=where.type == "cuda")
    host = Side(arena.raw, arena.geometry)
    copiers = copiers_for(where, _kernel(where, host))
    if not copies_rows(copiers.load):
        group_bytes = WHOLE_PAGES
    memory = Shortage()
    copies = ArenaTransfers(
        Side(device.raw, device.geometry),
        host,
        memory.around(_faulty(copiers, faults)) if script else _faulty(copiers, faults),
        lanes_for(where, fence=_fence(where, streams), threads=True),
        group_bytes=group_bytes,
    )
    logger.info(
        "cachepawl: host tier of %d bytes, %d frames, %s",
        budget,
        arena.geometry.usable_frames,
        arena.pinning,
    )
    orders = FaultyTransfers(copies, script, memory) if script else copies
    return HostParts(arena, copies, orders)


def _kernel(where: torch.device, host: Side) -> Copier | None:
    """What copies short extents, where there is a GPU on which it does."""
    return tried(KernelCopier(), where, host) if where.type == "cuda" else None


def _faulty(copiers: Copiers, faults: HostFaults) -> Copiers:
    if faults.corrupt is not None:
        copiers = corrupted(copiers, faults.corrupt)
    return slowed(copiers, faults.seconds) if faults.seconds else copiers


def _fence(where: torch.device, streams: Streams) -> Callable[[], Mark] | None:
    if where.type != "cuda":
        return None
    return lambda: CudaMark(torch.cuda.current_stream(where), *streams())
