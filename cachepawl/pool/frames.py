"""The host's truth: which frame is whose and which of its pages are free.  No torch.

Any frame, wherever it lies, changes kind the moment it is empty; nothing moves on its
own.  One idea a file, each on top of the one before:

    frame_table      what a frame is; taking and releasing whole frames
    frame_capacity   what could be had
    frame_pins       what is in use, and what eviction cannot free
    reservations     pages kept for a row
    kv_pages         KV goes request-affine, from the lowest free frame
    movable_pages    pages that evacuation moves
    here             states, from the highest free frame

A frame without pinned pages can be emptied by eviction alone; the counters say how many
frames and pages could be had that way without looking at the tree.

Every operation costs the runs it touches, never the number of frames.
"""

from __future__ import annotations

from cachepawl.errors import DoubleFree
from cachepawl.pool.frame_checks import frame_violations
from cachepawl.pool.frame_table import (
    CHECKPOINTS,
    FREE,
    KIND_NAMES,
    KV,
    SCAN,
    SINK,
    STATE,
    UNLIMITED,
)
from cachepawl.pool.movable_pages import MovablePages

__all__ = [
    "CHECKPOINTS",
    "FREE",
    "KIND_NAMES",
    "KV",
    "SCAN",
    "SINK",
    "STATE",
    "UNLIMITED",
    "FrameAllocator",
]


class FrameAllocator(MovablePages):
    """Hands out KV pages and state slots from `num_frames` equal frames.

    Page id = frame * pages_per_frame + index; a state slot is its frame's number.
    Frame 0 is the sink and is never handed out.  `page_cap` and `state_cap` limit
    how much of either kind may be in use at once; the latter counts frames.
    """

    def alloc_states(self, count: int) -> tuple[int, ...] | None:
        """`count` state slots, highest frames first; None, and no change, on a shortage."""
        if count > self.available_states:
            self.counters.state_refusals += 1
            return None
        slots = tuple(self._take(-1, STATE) for _ in range(count))
        self.states += count
        self.counters.states_handed += count
        self.counters.peak_states = max(self.counters.peak_states, self.states)
        return slots

    def free_states(self, slots: tuple[int, ...] | list[int]) -> None:
        """Give slots back; DoubleFree, and no change, if one holds no state or is named twice."""
        for i, slot in enumerate(slots):
            if not 0 < slot < self.num_frames or self.kind[slot] != STATE or slot in slots[:i]:
                raise DoubleFree(f"state slot {slot} of {list(slots)}: holds no state")
        for slot in slots:
            self.states -= 1
            self._release(slot)

    def take_frame(self) -> int | None:
        """A whole frame for compressed states, the highest; None on a shortage."""
        if self.available_states < 1:
            return None
        self.states += 1
        self.counters.peak_states = max(self.counters.peak_states, self.states)
        return self._take(-1, CHECKPOINTS)

    def give_frame(self, frame: int) -> None:
        """The last compressed state has left it.  DoubleFree for any other frame."""
        if not 0 < frame < self.num_frames or self.kind[frame] != CHECKPOINTS:
            raise DoubleFree(f"frame {frame}: holds no compressed states")
        self.states -= 1
        self._release(frame)

    def violations(self) -> list[str]:
        """Counters against the bitmaps, one line a contradiction.  Read only; walks all frames."""
        return frame_violations(self)
