"""Where states are taken: rules that the server and a replay share.  No torch.

A state serves only prompts that are cut at its very depth, so a chunk that cannot take
the rest of its prompt ends on the grid (`chunk`).

SGLang takes one snapshot a forward (`snapshot`), at the last grid depth it reaches.
Ending a chunk early gives a second one (`first_stop`).  It is worth a forward in three
cases only:

- the prompt leaves the cached KV at a branch point: without a stop there, either the
  branch or the prompt's end gets the state, not both;
- the prompt ends exactly on the grid: the state at its end serves extensions, but an
  identical prompt needs a shallower one, for its last token is always computed;
- the prompt has a mark, a depth where others are likely to leave it: the end of a system
  prompt, or what the client names.

Depths and lengths are tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

SSM_CHUNK = 64
"""Tokens between states that the kernels of most models can give."""


ANSWER_INTERVAL = 16
"""Tokens between snapshots of an answer.  A snapshot is a copy of one request's state, which every
step reads and writes anyway: with 16 it adds about a sixteenth to that traffic."""


def answer_grid(page_tokens: int, interval: int = ANSWER_INTERVAL) -> int:
    """Snapshots of an answer are at multiples of this: of the interval, and whole pages."""
    return lcm(interval, page_tokens)


def default_grid(page_tokens: int, ssm_chunk: int = SSM_CHUNK) -> int:
    """Depths of snapshots are multiples of this from where a forward starts.

    As SGLang 0.5.23 has it with the extra buffer: the larger of the model's SSM chunk and
    the page, and whole pages.
    """
    return lcm(max(ssm_chunk, page_tokens), page_tokens)


class SnapshotPlan:
    """Snapshots and stops of prefills on a grid of `grid` tokens; no stops unless `enabled`."""

    def __init__(self, grid: int, enabled: bool) -> None:
        self.grid = grid
        self.enabled = enabled

    @property
    def anywhere(self) -> bool:
        """Whether a forward's snapshot may be of any grid depth in it; else it is of its end."""
        return self.grid > 1

    def branch_point(self, kv_len: int, usable: int) -> int | None:
        """The deepest depth beyond `usable` where KV is cached and a snapshot could be."""
        # From `usable`, which need not be on the grid itself: snapshots are so many steps on.
        steps = (kv_len - usable) // self.grid
        return usable + steps * self.grid if steps > 0 else None

    def chunk(self, room: int) -> int:
        """Tokens of a chunk that does not reach its prompt's end, `room` at most.

        From a depth on the grid it ends on the grid; 0 when no step fits.
        """
        return room // self.grid * self.grid

    def first_stop(
        self, prompt: int, usable: int, branch: int | None, marks: Sequence[int] = ()
    ) -> int | None:
        """Tokens of the first chunk of a prefill `[usable, prompt)`, or None for no stop.

        A branch point goes before a mark: it is where others did leave the prompt.
        """
        if not self.enabled:
            return None
        end = usable + self.chunk(prompt - usable)
        if branch is not None and usable < branch < end:
            return branch - usable
        if marks and (stop := self.mark_stop(prompt, usable, marks)):
            return stop
        repeat = end - self.grid
        if end == prompt and self.anywhere and repeat > usable:
            return repeat - usable
        return None

    def mark_stop(self, prompt: int, start: int, marks: Sequence[int]) -> int:
        """Tokens from `start` to the last grid depth up to its next mark; 0 if there is none.

        `marks` ascend.  A mark that the snapshot at the prompt's end serves as well is none.
        """
        most = self.chunk(prompt - start)
        steps = (self.chunk(mark - start) for mark in marks if mark > start)
        return next((step for step in steps if 0 < step < most), 0) if self.enabled else 0

    def snapshot(self, start: int, stop: int, branch: int | None) -> int | None:
        """Where a forward over `[start, stop)` takes its one snapshot, or None.

        As SGLang 0.5.23 does with the extra buffer: at a branch point inside, else at the
        last grid depth.  Without that buffer, where the grid is 1: at the end.
        """
        if stop - start < self.grid:
            return None
        if self.anywhere and branch is not None and start < branch < stop:
            return branch
        return start + self.chunk(stop - start)
