"""The rig over real arenas: entries and states are bytes made of the text they stand for."""

from __future__ import annotations

from hashlib import shake_128
from typing import Any

import torch
from rig import PAGE, Rig

from cachepawl.offload.arena_transfers import ArenaTransfers, Side
from cachepawl.offload.copiers import copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.faults import FaultyTransfers, parse_script
from cachepawl.offload.faulty_copiers import Shortage, corrupted
from cachepawl.offload.host_arena import HostArena
from cachepawl.offload.layers import WHOLE_PAGES
from cachepawl.pool.geometry import Geometry

CPU = torch.device("cpu")


def bytes_of(text: str, size: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(shake_128(text.encode()).digest(size)), dtype=torch.uint8)


class Found:
    """Bytes that are compared with what a text would have made of them."""

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw = raw

    def __eq__(self, text: object) -> bool:
        return torch.equal(self.raw, bytes_of(str(text), len(self.raw)))

    __hash__ = None  # type: ignore[assignment]


class Entries:
    """By page and offset in it."""

    def __init__(self, raw: torch.Tensor, geometry: Geometry) -> None:
        self.raw, self.size = raw, geometry.entry_bytes

    def place(self, where: tuple[int, int]) -> torch.Tensor:
        page, offset = where
        first = (page * PAGE + offset) * self.size
        return self.raw[first : first + self.size]

    def __getitem__(self, where: tuple[int, int]) -> Any:
        return Found(self.place(where))

    def __setitem__(self, where: tuple[int, int], text: str) -> None:
        self.place(where).copy_(bytes_of(text, self.size))


class States:
    """By slot."""

    def __init__(self, raw: torch.Tensor, geometry: Geometry) -> None:
        self.raw, self.size, self.step = raw, geometry.state_bytes, geometry.frame_bytes

    def place(self, slot: int) -> torch.Tensor:
        return self.raw[slot * self.step :][: self.size]

    def __getitem__(self, slot: int) -> Any:
        return Found(self.place(slot))

    def __setitem__(self, slot: int, text: str) -> None:
        self.place(slot).copy_(bytes_of(text, self.size))


class Memory:
    """An arena as the rig sees it."""

    def __init__(self, side: Side) -> None:
        self.kv: Any = Entries(*side)
        self.states: Any = States(*side)


class RealRig(Rig):
    """Two arenas, copied between by threads."""

    def __init__(
        self, *, faults: str | None = None, corrupt: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        device = self.cache.geometry
        here = Side(torch.zeros(device.total_bytes, dtype=torch.uint8), device)
        arena = HostArena(device, self.host.geometry.total_bytes, pinned=False)
        there = Side(arena.raw, arena.geometry)
        self.here, self.there = Memory(here), Memory(there)  # type: ignore[assignment]
        memory = Shortage()
        copiers = memory.around(copiers_for(CPU))
        if corrupt is not None:
            copiers = corrupted(copiers, corrupt)
        self.copies = ArenaTransfers(
            here, there, copiers, lanes_for(CPU, threads=True), group_bytes=WHOLE_PAGES
        )
        if faults is None:
            self.tier.tickets.transfers = self.copies
        else:
            script = parse_script(faults)
            self.tier.tickets.transfers = FaultyTransfers(self.copies, script, memory)

    def settle_all(self) -> None:
        """Polls until nothing is under way or wanted."""
        for _ in range(100):
            self.tier.tickets.transfers.wait()
            self.tier.poll()
            self.check()
            if not len(self.tier.tickets):
                return
        raise AssertionError("transfers never end")

    def close(self) -> None:
        self.settle_all()
        self.copies.close()
