"""Where the arena's bytes are, at one moment.  They add up to the budget."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.cache import HybridPrefixCache


class Occupancy(NamedTuple):
    """Bytes by what they are used for."""

    cached_kv: int
    """KV of the tree, locked or not."""
    cached_states: int
    """States of the tree."""
    running_kv: int
    """Pages of running requests that are not in the tree."""
    running_states: int
    padding: int
    """What states leave unused of their frames, open places of compressed ones included."""
    stranded: int
    """Free pages inside frames that hold KV: of no use to a state."""
    free: int
    """Empty frames."""
    reserve: int
    """The padding frame, and what is left of the budget behind the last whole frame."""


NAMES = {
    "cached_kv": "cached KV",
    "cached_states": "cached states",
    "running_kv": "KV of running requests",
    "running_states": "states of running requests",
    "padding": "padding of states",
    "stranded": "stranded pages",
    "free": "free frames",
    "reserve": "padding frame and remainder",
}
"""For people, in the order of the fields."""


def occupancy_of(cache: HybridPrefixCache, budget: int) -> Occupancy:
    """What `budget` bytes hold now.  O(1); read only."""
    frames, refs, geometry = cache.frames, cache.refs, cache.geometry
    page, state, frame = geometry.page_bytes, geometry.state_bytes, geometry.frame_bytes
    running = cache.row_states
    kept = geometry.kept_bytes
    states = cache.tree.state_evictable + cache.tree.state_protected
    return Occupancy(
        cached_kv=refs.tree_pages * page,
        cached_states=states * kept,
        running_kv=refs.row_pages * page,
        running_states=running * state,
        padding=frames.states * frame - running * state - states * kept,
        stranded=frames.stranded_pages * page,
        free=frames.free_frames * frame,
        reserve=budget - geometry.usable_frames * frame,
    )
