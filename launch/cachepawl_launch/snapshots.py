"""Where a prefill chunk ends, so that the states it leaves are of use to others.

A state serves only prompts that are cut at its very depth, so a chunk that cannot take
the rest of its prompt ends on the grid (`chunk`).

SGLang takes one snapshot a forward, at the last grid depth it reaches.  Ending a chunk
early gives a second one (`first_stop`).  It is worth a forward in two cases only:

- the prompt leaves the cached KV at a branch point: without a stop there, either the
  branch or the prompt's end gets the state, not both;
- the prompt ends exactly on the grid: the state at its end serves extensions, but an
  identical prompt needs a shallower one, for its last token is always computed.
"""

from __future__ import annotations


class SnapshotPlan:
    """Stops for prefills on a grid of `grid` tokens; none at all when not `enabled`."""

    def __init__(self, grid: int, enabled: bool) -> None:
        self.grid = grid
        self.enabled = enabled

    def chunk(self, room: int) -> int:
        """Tokens of a chunk that does not reach its prompt's end, `room` at most.

        From a depth on the grid it ends on the grid; 0 when no step fits.
        """
        return room // self.grid * self.grid

    def first_stop(self, prompt: int, usable: int, branch: int | None) -> int | None:
        """Tokens of the first chunk of a prefill `[usable, prompt)`, or None for no stop."""
        if not self.enabled:
            return None
        end = usable + (prompt - usable) // self.grid * self.grid
        if branch is not None and usable < branch < end:
            return branch - usable
        repeat = end - self.grid
        if end == prompt and self.grid > 1 and repeat > usable:
            return repeat - usable
        return None
