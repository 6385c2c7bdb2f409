"""The state-slot allocator that SGLang calls, over the arena's frames."""

from __future__ import annotations

import torch
from sglang.srt.mem_cache.allocator.mamba import MambaSlotAllocator

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.frames import STATE
from cachepawl_launch.host_ids import HostIds


class ArenaSlotAllocator(MambaSlotAllocator):
    """Slots are frames.

    `size` and `available_size` count slot ids, every frame being a possible slot, so
    that SGLang's idle check sees what is owned and nothing else; what the bytes allow
    is `schedulable_available_size`.
    """

    def __init__(self, cache: HybridPrefixCache, device: str) -> None:
        # The stock constructor would build a free list on the device.
        self.cache = cache
        self.device = device
        self.size = cache.geometry.usable_frames
        self.ids = HostIds(cache.geometry.num_frames, device)
        self.last_slots: tuple[int, ...] = ()

    def available_size(self) -> int:
        return self.size - self.cache.frames.states

    def schedulable_available_size(self) -> int:
        return self.cache.frames.available_states

    def alloc_group_begin(self, num_reqs: int) -> None:
        """Nothing: stock would take a slot here for every waiting request."""

    def alloc_group_end(self) -> None:
        """Nothing was taken."""

    def alloc(self, need_size: int) -> torch.Tensor | None:
        """Slot ids, `(need_size,)` int64; None when not even eviction makes room."""
        slots = self.cache.try_states(need_size)
        if slots is None:
            return None
        self.last_slots = slots
        return self.ids.to_device(slots)

    def free(self, free_index: torch.Tensor) -> None:
        if free_index.numel():
            self.cache.free_states(self.ids.to_host(free_index))

    def clear(self) -> None:
        """The cache is reset as a whole by the tree."""

    @property
    def free_slots(self) -> torch.Tensor:
        """Slots without a state, for SGLang's leak report."""
        kinds = self.cache.frames.kind
        return torch.tensor([f for f in range(1, len(kinds)) if kinds[f] < STATE])

    def is_slot_allocated(self, slot: int) -> bool:
        return self.cache.frames.kind[int(slot)] == STATE
