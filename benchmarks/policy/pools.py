"""Memory for SGLang's tree that counts bytes and hands out fresh ids.

`Split` is SGLang's default: two pools, their sizes fixed at start.  `Shared` models
`--enable-unified-memory`: one number of bytes for both kinds.  What is modelled of it, from
`UnifiedRadixCache.evict_for_alloc` and `UnifiedMambaTokenToKVPoolAllocator`:

- either kind is short when the common bytes are, not its own share;
- a state that finds no bytes evicts KV leaves, oldest first, before any other state
  (`mamba_full_cache_donor`); tokens that find no bytes evict KV leaves alone.

Left out in its favour: holes and the compaction that packs them, the padding at the buffer's
lower end, limits on virtual ids, the limit on requests that still comes from the ratio.
"""

from __future__ import annotations

from typing import Protocol

import torch
from sglang.srt.mem_cache.allocator import BaseTokenToKVPoolAllocator

from cachepawl.errors import ArgumentError


class Memory(Protocol):
    """What both allocators draw from; sizes are pages and slots."""

    page_bytes: int
    state_bytes: int
    pages: int
    """Taken now."""
    states: int

    @property
    def free_pages(self) -> int:
        """Pages that can be taken now."""

    @property
    def free_states(self) -> int:
        """State slots that can be taken now."""

    @property
    def donates(self) -> bool:
        """Whether KV that is evicted makes room for states."""

    def fits(self, pages: int, states: int) -> bool:
        """Whether an empty memory holds so much at once."""


class Split:
    """Two pools."""

    donates = False

    def __init__(self, page_bytes: int, state_bytes: int, most_pages: int, most_states: int):
        self.page_bytes, self.state_bytes = page_bytes, state_bytes
        self.most_pages, self.most_states = most_pages, most_states
        self.pages = self.states = 0

    @property
    def free_pages(self) -> int:
        return self.most_pages - self.pages

    @property
    def free_states(self) -> int:
        return self.most_states - self.states

    def fits(self, pages: int, states: int) -> bool:
        return pages <= self.most_pages and states <= self.most_states


class Shared:
    """One number of bytes."""

    donates = True

    def __init__(self, page_bytes: int, state_bytes: int, budget: int):
        self.page_bytes, self.state_bytes, self.budget = page_bytes, state_bytes, budget
        self.pages = self.states = 0

    @property
    def _free(self) -> int:
        return self.budget - self.pages * self.page_bytes - self.states * self.state_bytes

    @property
    def free_pages(self) -> int:
        return self._free // self.page_bytes

    @property
    def free_states(self) -> int:
        return self._free // self.state_bytes

    def fits(self, pages: int, states: int) -> bool:
        return pages * self.page_bytes + states * self.state_bytes <= self.budget


def split_at(ratio: float, page_bytes: int, state_bytes: int, budget: int) -> Split:
    """The pools that SGLang makes of `budget` bytes at a `--mamba-full-memory-ratio`.

    `cachepawl.offline.sglang.memory.static` has the sources.  One slot is padding.
    """
    share = budget * ratio / (1 + ratio)
    slots = int((share - state_bytes) // state_bytes)
    rest = budget - (slots + 1) * state_bytes
    if slots <= 0 or rest < page_bytes:
        raise ArgumentError(f"{budget} bytes at ratio {ratio:g}: no room for both kinds")
    return Split(page_bytes, state_bytes, rest // page_bytes, slots)


class TokenIds(BaseTokenToKVPoolAllocator):
    """KV pages of a `Memory`, as token ids that were never used before."""

    def __init__(self, memory: Memory, page: int) -> None:
        super().__init__(memory.free_pages * page, page, torch.bfloat16, "cpu", None, False)
        self.memory = memory
        self.clear()

    def clear(self) -> None:
        self._next = self.page_size
        self.memory.pages = 0

    def available_size(self) -> int:
        return self.memory.free_pages * self.page_size

    def alloc(self, need_size: int) -> torch.Tensor | None:
        """Whole pages; None when they are not free."""
        pages = -(-need_size // self.page_size)
        if pages > self.memory.free_pages:
            return None
        self.memory.pages += pages
        start = self._next
        self._next += pages * self.page_size
        return torch.arange(start, self._next, dtype=torch.int64)

    def free(self, free_index: torch.Tensor) -> None:
        """Ids of pages in one piece each; the last page may be named by some of its tokens."""
        self.memory.pages -= -(-free_index.numel() // self.page_size)
        assert self.memory.pages >= 0, "more pages were freed than taken"

    # What a unified pool does when a state finds no bytes.

    def mamba_full_cache_donor(self) -> TokenIds | None:
        return self if self.memory.donates else None

    def full_tokens_before_mamba_recheck(self, target_size: int) -> int:
        """Tokens whose eviction cannot be enough yet for so many free states."""
        missing = target_size - self.memory.free_states
        return max(0, (missing - 1) * self.memory.state_bytes // self.memory.page_bytes) + 1

    def prepare_mamba_allocation(self, target_size: int) -> None:
        """Bytes are free as soon as they are freed."""


class StateIds:
    """State slots of a `Memory`, as ids that were never used before."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.clear()

    def clear(self) -> None:
        self._next = 1
        self.memory.states = 0

    def available_size(self) -> int:
        """Ids; of a unified pool there are always enough, bytes are what is short."""
        return 1 << 30 if self.memory.donates else self.memory.free_states

    def schedulable_available_size(self) -> int:
        return self.memory.free_states

    def alloc(self, need_size: int) -> torch.Tensor | None:
        if need_size > self.memory.free_states:
            return None
        self.memory.states += need_size
        start = self._next
        self._next += need_size
        return torch.arange(start, self._next, dtype=torch.int64)

    def free(self, free_index: torch.Tensor) -> None:
        self.memory.states -= free_index.numel()
        assert self.memory.states >= 0, "more states were freed than taken"
