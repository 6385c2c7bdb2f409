"""What the frame allocator counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FrameCounters:
    """Totals since the start, and two peaks."""

    pages_handed: int = 0
    states_handed: int = 0
    kv_to_state: int = 0
    """Frames that held KV last time and were taken for a state."""
    state_to_kv: int = 0
    page_refusals: int = 0
    state_refusals: int = 0
    reservations_revoked: int = 0
    peak_kv_frames: int = 0
    peak_states: int = 0
    peak_stranded_pages: int = 0
