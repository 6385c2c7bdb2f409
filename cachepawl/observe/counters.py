"""What the cache counts, for `/metrics`, logs and reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class CacheCounters:
    """Totals since the start; tokens unless the name says otherwise."""

    lookups: int = 0
    prompt_tokens: int = 0
    hit_tokens: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    """Prompt tokens not served from the cache, by reason."""
    evicted_tokens: int = 0
    evicted_states: int = 0
    states_published: int = 0
    states_declined: int = 0
    """States handed in for a depth that had one already."""
    checkpoints_skipped: int = 0
    """Optional checkpoints not taken for want of a frame."""
    admissions_refused: int = 0
    """Requests that had to wait: the bytes or the whole frames were not there."""
    prefixes_dropped: int = 0
    """Hits given up because the prefix's own pages pinned the frames the request needed."""
    prefix_waits: int = 0
    """Requests that waited for a state which another one was about to leave."""
    prefix_waits_met: int = 0
    """Of those, requests that began with more than they had before."""
    snapshots_at_marks: int = 0
    """Snapshots taken at a mark instead of the prompt's end: another prompt was cut already."""
    marks_lost: int = 0
    """Marks without a state for the same reason."""
    duplicate_pages: int = 0
    evacuations: int = 0
    """Bursts of moved pages."""
    evacuated_pages: int = 0
    largest_evacuation: int = 0
    """Pages of the largest burst."""
    evacuations_refused: int = 0
    """Times that packing would have made room, and the pages could not be moved."""
