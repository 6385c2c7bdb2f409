"""Admission over one arena: bytes, and whole frames.

SGLang's budget thinks in tokens.  Here a token may come from any frame that eviction
can empty, a new request also takes state slots, each a whole frame, and a frame with
one pinned page is no room for a state.  `HybridPrefixCache.fits` counts both, and where
packing pinned pages would make room, `make_way` does so before the request is refused.

Where a chunk ends is decided here too, on the grid (`cachepawl.snapshots`), and who waits for what
others of the pass are about to leave (`stops`).
"""

from __future__ import annotations

from typing import Any

from sglang.srt.mem_cache.prefill_budget import PrefillBudget

from cachepawl.evacuation import Admission
from cachepawl_launch.stops import Stops

NOT_IN_THIS_PASS = (True, 0)
"""Admitted with a chunk of no tokens: SGLang ends the pass there and asks again in the next.
A refusal would close admission until a running request ends."""
MOST_PASSED_OVER = 32
"""Waiting requests of one pass that others may come before; each costs the pass a match."""


class ArenaPrefillBudget(PrefillBudget):
    """The room of one prefill pass; admitted but not yet allocated requests count."""

    def __init__(self, allocator: Any, tree_cache: Any, *, num_mixed_decode_tokens: int) -> None:
        super().__init__(allocator, tree_cache, num_mixed_decode_tokens=num_mixed_decode_tokens)
        self.cache = allocator.cache
        self.frame_tokens = self.cache.geometry.tokens_per_frame
        self.pending_states = 0
        self.started = False
        self.evacuated = False
        self.unfinished = False
        """A prompt of this pass goes on in the next; SGLang tracks one such."""
        self.passed_over = 0
        """Candidates that wait for the next pass, for a state that is being computed."""
        self._next_may_come = False

    def _available_and_evictable(self) -> int:
        return int(self.cache.obtainable_tokens())

    def check_prefill(
        self,
        *,
        extend_input_len: int,
        total_tokens: int,
        max_new_tokens: int,
        input_tokens: int,
        swa_host_hit_length: int,
        chunk_limit: int | None,
        auxiliary_swa_host_hit_length: int = 0,
    ) -> tuple[bool, int | None]:
        """Whether the candidate fits, and where its first chunk should end."""
        stops, self._next_may_come = self.tree_cache.stops, False
        if stops.waits():
            self.passed_over += 1
            self._next_may_come = self.passed_over <= MOST_PASSED_OVER
            return NOT_IN_THIS_PASS
        states = self.cache.states_per_request
        pending = self.total_offset - self.pending_states * self.frame_tokens
        tokens = total_tokens - states * self.frame_tokens + pending
        way = self._way(int(tokens) + 1, states + self.pending_states)
        if way is Admission.SOON or (way is Admission.CLOSED and self.passed_over):
            return NOT_IN_THIS_PASS  # whoever was passed over may fit
        if way is Admission.CLOSED:
            self.cache.counters.admissions_refused += 1
            self.tree_cache.refused(nothing_pending=self.current_offset == 0)
            return False, None
        return self._admit(stops, extend_input_len, chunk_limit)

    def _admit(
        self, stops: Stops, extend_input_len: int, chunk_limit: int | None
    ) -> tuple[bool, int | None]:
        """There is room for the candidate; where its first chunk should end."""
        if chunk_limit is not None and self.ceil_paged_tokens(extend_input_len) > chunk_limit:
            if self.unfinished:
                return NOT_IN_THIS_PASS
            return True, stops.first_cut(self._cut(chunk_limit))
        if chunk_limit is None or self.unfinished:
            stops.uncut()
            return True, chunk_limit
        stop = stops.first_stop()
        if stop is None:
            return True, chunk_limit
        self.unfinished = True
        return True, stop

    def next_may_come(self) -> bool:
        """Whether others may be admitted although the latest candidate was not.  Asked once."""
        may, self._next_may_come = self._next_may_come, False
        return may

    def _way(self, tokens: int, states: int) -> Admission:
        """Whether there is room, moving at most one burst of pages in a pass."""
        if self.cache.fits(tokens, states):
            return Admission.OPEN
        if self.evacuated:
            return Admission.SOON
        way = self.cache.make_way(tokens, states)
        self.evacuated = way is not Admission.CLOSED
        return way

    def _cut(self, room: int) -> int:
        """Tokens of a chunk that does not end its prompt; less than a grid step if need be."""
        self.unfinished = True
        chunk = self.tree_cache.plan.chunk(room)
        return chunk if chunk or self.started else room

    def can_allocate_prefill(
        self,
        *,
        paged_input: int,
        extend_input_len: int,
        max_new_tokens: int,
        chunk_limit: int | None,
    ) -> bool:
        return paged_input <= min(self.remaining_current, self.remaining_total)

    def available_chunk_tokens(self, chunk_limit: int) -> int | None:
        """How much of a chunk can be allocated now; None makes the request wait.

        The running requests' expected answers are a wish, not a claim: when they
        leave nothing, the chunk still goes on with what is really there, for only
        its end gives its pages back.
        """
        now = int(self.remaining_current) // self.page_size * self.page_size - self.page_size
        wished = int(self.remaining_total) // self.page_size * self.page_size
        available = min(chunk_limit, now, wished if wished > 0 else now)
        self.unfinished = available <= 0
        return available if available > 0 else None

    def fit_chunk(
        self, *, extend_input_len: int, max_new_tokens: int, chunk_limit: int
    ) -> int | None:
        """Tokens of a chunk that goes on, of the `chunk_limit` that there is room for."""
        if extend_input_len <= chunk_limit:
            return chunk_limit
        return int(self.tree_cache.stops.next_cut(self._cut(chunk_limit)))

    def reserve(
        self,
        extend_input_len: int,
        max_new_tokens: int,
        *,
        extra_tokens: int = 0,
        chunk_limit: int | None = None,
        is_chunked_continuation: bool = False,
    ) -> None:
        super().reserve(
            extend_input_len,
            max_new_tokens,
            extra_tokens=extra_tokens,
            chunk_limit=chunk_limit,
            is_chunked_continuation=is_chunked_continuation,
        )
        self.pending_states += extra_tokens // self.frame_tokens
        self.started = True
        stops = self.tree_cache.stops
        (stops.goes_on if is_chunked_continuation else stops.begins)(extend_input_len)
