"""Every byte of the arena by what it holds and for whom, in cells of whole frames."""

from __future__ import annotations

from collections.abc import Sequence

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.frames import CHECKPOINTS, FREE, KV, STATE
from cachepawl.tree import Node

KINDS = (
    "kv_evictable",  # KV in the tree that eviction can free
    "kv_locked",  # KV in the tree that a request uses
    "kv_requests",  # KV of running requests, not in the tree (yet)
    "kv_stranded",  # free pages in frames that hold KV: no use for a state
    "states_evictable",
    "states_locked",
    "states_requests",
    "padding",  # what states leave of their frames, open places of compressed ones included
    "free",
    "sink",  # frame 0, written by rows without a request
)
"""What a byte of the arena can be; the order of the numbers of a cell."""


def draw_cells(cache: HybridPrefixCache, nodes: Sequence[Node], most: int) -> list[list[int]]:
    """At most `most` cells of equally many frames in a row (the last may have fewer).

    A cell is its bytes by `KINDS`, so all cells add up to the arena.  `nodes` are all of the
    tree's.  Owners are taken from the tree: what it does not own is a request's.  Read only.
    Cost: the runs of pages in the tree, and the frames.
    """
    geometry, frames = cache.geometry, cache.frames
    full, page_bytes = geometry.pages_per_frame, geometry.page_bytes
    frame_bytes, state_bytes = geometry.frame_bytes, geometry.state_bytes
    pages = _tree_pages(nodes, frames.num_frames, full)
    locked_state = {n.state: n.state_lock > 0 for n in nodes if n.state is not None}
    kept = _Kept(cache, locked_state)
    each = frames_each(frames.num_frames, most)
    cells = [[0] * len(KINDS) for _ in range(-(-frames.num_frames // each))]
    for frame, kind in enumerate(frames.kind):
        cell = cells[frame // each]
        if kind == KV:
            used = frames.pages_in_use(frame)
            evictable, locked = pages[0][frame], pages[1][frame]
            cell[0] += evictable * page_bytes
            cell[1] += locked * page_bytes
            cell[2] += (used - evictable - locked) * page_bytes
            cell[3] += (full - used) * page_bytes
        elif kind == STATE:
            locked_by_tree = kept.whole(frame)
            cell[6 if locked_by_tree is None else 4 + locked_by_tree] += state_bytes
            cell[7] += frame_bytes - state_bytes
        elif kind == CHECKPOINTS:
            kept.draw(frame, cell)
        else:
            cell[8 if kind == FREE else 9] += frame_bytes
    return cells


class _Kept:
    """Which frames of states the tree's are: whole slots, or several checkpoints each."""

    def __init__(self, cache: HybridPrefixCache, locked: dict[int, bool]) -> None:
        self._locked = locked
        self._slots = None if cache.checkpoints is None else cache.checkpoints.slots
        self._bytes, self._frame_bytes = cache.geometry.kept_bytes, cache.geometry.frame_bytes

    def whole(self, frame: int) -> bool | None:
        """Whether the state in a frame of its own is locked; None for a request's."""
        return self._locked.get(frame) if self._slots is None else None

    def draw(self, frame: int, cell: list[int]) -> None:
        """A frame of checkpoints; those not published yet are a request's."""
        assert self._slots is not None
        inside = self._slots.in_frame(frame)
        for one in inside:
            locked = self._locked.get(one)
            cell[6 if locked is None else 4 + locked] += self._bytes
        cell[7] += self._frame_bytes - len(inside) * self._bytes


def frames_each(frames: int, most: int) -> int:
    """Frames of a cell, so that `most` cells are enough."""
    return -(-frames // most)


def _tree_pages(nodes: Sequence[Node], frames: int, full: int) -> tuple[list[int], list[int]]:
    """The tree's pages in every frame: evictable, locked."""
    counts = [0] * frames, [0] * frames
    for node in nodes:
        count = counts[node.full_lock > 0]
        for first, left in node.pages.runs:
            frame, at = divmod(first, full)
            while left > 0:
                here = min(full - at, left)
                count[frame] += here
                left -= here
                frame, at = frame + 1, 0
    return counts
