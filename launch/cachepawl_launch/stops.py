"""Where the chunks of prompts end, and whose prompt waits: asked by the budget of a prefill pass.

A state should be left where others are likely to leave a prompt (`cachepawl.snapshots`), and what
one request of a pass is about to leave there, others should not compute as well (`coming`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cachepawl.observe.counters import CacheCounters
from cachepawl.snapshots import SnapshotPlan
from cachepawl.types import Key
from cachepawl_launch.coming import ComingStates
from cachepawl_launch.marks import Marks


class Candidate(NamedTuple):
    """A waiting request as it was matched; tokens."""

    req: Any
    """SGLang's."""
    key: Key
    prompt: int
    usable: int
    """What it has already."""
    branch: int | None
    limit: int
    """How deep a match may reach; 0 for one that could not use what others leave."""


class _Prefill(NamedTuple):
    """A prompt that goes on in the next pass."""

    candidate: Candidate
    marks: list[int]
    at: int
    """Tokens that are computed, with those of the chunk under way."""


class Stops:
    """The candidate is the latest that was `matched`; at most one prompt goes on in chunks."""

    def __init__(
        self, plan: SnapshotPlan, marks: Marks, counters: CacheCounters, page_tokens: int
    ) -> None:
        self.plan = plan
        self.marks = marks
        self.coming = ComingStates()
        self._counters = counters
        self._page = page_tokens
        self._candidate: Candidate | None = None
        self._marks: list[int] | None = None
        """The candidate's, once they are looked for."""
        self._moved: int | None = None
        """Where the candidate's one snapshot is taken instead of at its end."""
        self._unfinished: _Prefill | None = None

    def clear(self) -> None:
        """The tree was emptied, and nothing runs."""
        self.coming.clear()
        self._candidate = self._unfinished = None

    def matched(self, candidate: Candidate) -> None:
        """It is asked about from now on."""
        self._candidate = candidate
        self._marks = self._moved = None

    # -- before the candidate is admitted ---------------------------------------------

    def waits(self) -> bool:
        """Whether the candidate should wait for a state that another request is about to leave."""
        found = self._candidate
        if found is None or not self.plan.enabled:
            return False
        rid = found.req.rid
        first = not self.coming.waits(rid)
        waits = self.coming.wait(rid, found.key, found.usable, found.limit)
        self._counters.prefix_waits += waits and first
        return waits

    def first_stop(self) -> int | None:
        """Tokens of the candidate's first chunk, ended for one more snapshot, or None."""
        found = self._candidate
        if found is None:
            return None
        marks = self._marks_of(found)
        return self.plan.first_stop(found.prompt, found.usable, found.branch, marks)

    def first_cut(self, chunk: int) -> int:
        """Tokens of the candidate's first chunk of several: `chunk`, or less, to end at a mark."""
        found = self._candidate
        if found is None:
            return chunk
        return self._cut(found, self._marks_of(found), found.usable, chunk)

    def uncut(self) -> None:
        """The candidate's prompt is computed in one go, although it may have a mark.

        Its one snapshot then is taken at the mark, where that is possible, instead of its end:
        answers leave states behind a prompt's end soon, and nothing else leaves one at its mark.
        """
        found = self._candidate
        if found is None or found.branch is not None:
            return  # SGLang takes it at the branch point
        step = self.plan.mark_stop(found.prompt, found.usable, self._marks_of(found))
        depth = found.usable + step
        if not step or self.coming.deepest(found.key, found.limit) >= depth:
            return
        if self.plan.anywhere:
            self._moved = found.req.mamba_branching_seqlen = depth
        else:
            self._counters.marks_lost += 1

    def _marks_of(self, found: Candidate) -> list[int]:
        """Where others are likely to leave the candidate's prompt."""
        if not self.plan.enabled:
            return []
        if self._marks is None:
            custom = found.req.sampling_params.custom_params
            self._marks = self.marks.of(found.key.tokens, custom)
        return self._marks

    def _cut(self, found: Candidate, marks: list[int], at: int, chunk: int) -> int:
        stop = self.plan.mark_stop(found.prompt, at, marks)
        return stop if 0 < stop < chunk else chunk

    # -- while it is computed -----------------------------------------------------------

    def begins(self, tokens: int) -> None:
        """The candidate is admitted with a chunk of so many tokens, or pages that hold them."""
        found, moved = self._candidate, self._moved
        if found is None:
            return
        self._counters.snapshots_at_marks += moved is not None
        self._counters.prefix_waits_met += self.coming.end_waiting(found.req.rid, found.usable)
        stop = self._computes(found, found.usable, tokens, moved or found.branch)
        if stop < found.prompt:
            self._unfinished = _Prefill(found, self._marks_of(found), stop)
        self._candidate = None

    def next_cut(self, chunk: int) -> int:
        """As `first_cut`, of the prompt that goes on."""
        prefill = self._unfinished
        if prefill is None:
            return chunk
        return self._cut(prefill.candidate, prefill.marks, prefill.at, chunk)

    def goes_on(self, tokens: int) -> None:
        """The prompt that is computed in chunks has another one of so many tokens."""
        prefill = self._unfinished
        if prefill is None:
            return
        found = prefill.candidate
        stop = self._computes(found, prefill.at, tokens, found.branch)
        self._unfinished = prefill._replace(at=stop) if stop < found.prompt else None

    def _computes(self, found: Candidate, start: int, tokens: int, branch: int | None) -> int:
        """A chunk begins: expect its state.  Where the chunk ends."""
        stop = min(start + tokens, found.prompt)
        if self.plan.enabled and not found.req.skip_radix_cache_insert:
            depth = self.plan.snapshot(start, stop, branch) or 0
            self.coming.expect(found.req.rid, found.key, 0 if depth % self._page else depth)
        return stop

    def left(self, rid: str) -> None:
        """The request has published what it could, for now."""
        self.coming.gone(rid)

    def ended(self, rid: str) -> None:
        """The request is gone, or will be queued again."""
        self.coming.gone(rid)
        self.coming.end_waiting(rid, 0)
        if self._unfinished is not None and self._unfinished.candidate.req.rid == rid:
            self._unfinished = None
