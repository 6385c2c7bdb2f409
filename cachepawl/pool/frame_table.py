"""The record of all frames: what each is, and which of its pages are whose.  No torch."""

from __future__ import annotations

from collections.abc import Callable

from sortedcontainers import SortedList

from cachepawl.pool.bits import ones
from cachepawl.pool.counters import FrameCounters

FREE, SINK, KV, STATE, CHECKPOINTS = range(5)
KIND_NAMES = ("free", "sink", "kv", "state", "checkpoints")
SCAN = 8
"""Partly filled frames looked at for a run before a free frame is taken."""
UNLIMITED = 1 << 62


class FrameTable:
    """`num_frames` equal frames of `pages_per_frame` pages; frame 0 is the sink.

    Page id = frame * pages_per_frame + index.
    """

    def __init__(
        self,
        num_frames: int,
        pages_per_frame: int,
        *,
        page_cap: int = UNLIMITED,
        state_cap: int = UNLIMITED,
    ) -> None:
        self.num_frames = num_frames
        self.pages_per_frame = pages_per_frame
        self.page_cap = page_cap
        self.state_cap = state_cap
        self.counters = FrameCounters()
        self._all = ones(pages_per_frame)
        self._last_kind = [FREE] * num_frames
        self.turned_to_kv: list[int] = []
        """Frames that held a state before; their bytes are zeroed before KV is read."""
        self.on_release: Callable[[int], None] | None = None
        """Debug: called with every frame that becomes free."""
        self.clear()

    def clear(self) -> None:
        """Everything free again.  The counters of kind changes go on."""
        n = self.num_frames
        self.kind = [SINK] + [FREE] * (n - 1)
        self._used = [0] * n  # bitmap of pages in use
        self._held = [0] * n  # bitmap of free pages reserved for a row
        self._count = [0] * n  # pages in use
        self._pinned = [0] * n  # pages in use that eviction cannot free
        self._free = SortedList(range(1, n))
        self._key = [0] * n  # its key in _partial, 0 when not there
        self._partial: SortedList[tuple[int, int]] = SortedList()  # (-pages taken, frame)
        self._reserved: dict[int, tuple[int, int]] = {}  # row -> pages [start, stop)
        self._still: dict[int, int] = {}  # frame -> its pages that a transfer reads or writes
        self.kv_pages = 0
        self.kv_frames = 0
        self.states = 0  # frames of states, one whole each or several compressed
        self.pinned_pages = 0
        self.pinned_frames = 0
        self._held_pages = 0

    # -- taking and releasing -----------------------------------------------------

    def _take(self, end: int, kind: int) -> int:
        """The lowest free frame (`end` 0) or the highest (-1), for a kind."""
        frame: int = self._free.pop(end)
        self.kind[frame] = kind
        last, self._last_kind[frame] = self._last_kind[frame], kind
        if kind == KV:
            self.kv_frames += 1
            if self.kv_frames > self.counters.peak_kv_frames:
                self.counters.peak_kv_frames = self.kv_frames
            if last >= STATE:
                self.counters.state_to_kv += 1
                self.turned_to_kv.append(frame)
        elif last == KV:
            self.counters.kv_to_state += 1
        return frame

    def _release(self, frame: int) -> None:
        self.kind[frame] = FREE
        self._free.add(frame)
        if self.on_release is not None:
            self.on_release(frame)

    # -- looking ----------------------------------------------------------------

    def pages_in_use(self, frame: int) -> int:
        return self._count[frame]

    def pinned_in(self, frame: int) -> int:
        return self._pinned[frame]

    def free_mask(self, frame: int) -> int:
        """Free pages of a frame with KV, as bits."""
        return self._all & ~self._used[frame]

    def unreserved_mask(self, frame: int) -> int:
        """Free pages of a frame with KV that are reserved for nobody, as bits."""
        return self._all & ~(self._used[frame] | self._held[frame])

    def pinned_by_frame(self) -> list[tuple[int, int]]:
        """`(pinned pages, frame)` of every frame that has some, the fewest first."""
        return sorted((count, frame) for frame, count in enumerate(self._pinned) if count)

    def frame_of(self, page: int) -> int:
        return page // self.pages_per_frame

    def is_used(self, page: int) -> bool:
        frame, at = divmod(page, self.pages_per_frame)
        return bool(self._used[frame] >> at & 1)
