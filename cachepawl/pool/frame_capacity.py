"""What could be had: now, by evicting everything evictable, or by packing what is pinned."""

from __future__ import annotations

from cachepawl.pool.frame_table import FrameTable


class FrameCapacity(FrameTable):
    """Answers from counters, in O(1), without looking at the tree."""

    @property
    def free_frames(self) -> int:
        return len(self._free)

    @property
    def stranded_pages(self) -> int:
        """Free pages inside frames that hold KV: no use for a state."""
        return self.kv_frames * self.pages_per_frame - self.kv_pages

    @property
    def available_pages(self) -> int:
        """Pages that an allocation can have now, without eviction."""
        room = self.stranded_pages + len(self._free) * self.pages_per_frame
        return min(room, self.page_cap - self.kv_pages)

    @property
    def available_states(self) -> int:
        """State slots that an allocation can have now, without eviction."""
        return min(len(self._free), self.state_cap - self.states)

    def obtainable_pages(self, evictable_states: int) -> int:
        """Pages that could be had by evicting everything evictable."""
        frames = self.num_frames - 1 - (self.states - evictable_states)
        room = frames * self.pages_per_frame - self.pinned_pages
        return min(room, self.page_cap - self.pinned_pages)

    def fits(self, pages: int, states: int, evictable_states: int) -> bool:
        """Whether `pages` and `states` could be had together by evicting everything evictable.

        Counts whole frames: a frame with one pinned page is no room for a state,
        whatever the byte count says.
        """
        if pages > self.page_cap - self.pinned_pages:
            return False
        if states > self.state_cap - (self.states - evictable_states):
            return False
        beside_pinned = self.pinned_frames * self.pages_per_frame - self.pinned_pages
        kv_frames = -(-max(0, pages - beside_pinned) // self.pages_per_frame)
        whole = len(self._free) + self.kv_frames - self.pinned_frames + evictable_states
        return states + kv_frames <= whole

    def fits_packed(self, pages: int, states: int, evictable_states: int) -> bool:
        """As `fits`, if pinned pages could be moved together as well.

        Frames with pages that stay still stay; the pages of all others fill whole frames.
        """
        if pages > self.page_cap - self.pinned_pages:
            return False
        if states > self.state_cap - (self.states - evictable_states):
            return False
        kv_frames = max(len(self._still), -(-(self.pinned_pages + pages) // self.pages_per_frame))
        return states + kv_frames <= self.num_frames - 1 - (self.states - evictable_states)

    def frames_to_unpin(self, states: int, evictable_states: int) -> int:
        """Frames that must lose their pinned pages before eviction alone makes so many slots."""
        whole = len(self._free) + self.kv_frames - self.pinned_frames + evictable_states
        return max(0, states - whole)
