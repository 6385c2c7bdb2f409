"""The KV allocator that SGLang calls, over the arena's frames.

SGLang asks for tokens without saying whose they are.  The request pool says so just
before an extend, and a patch around `alloc_for_decode` does before a decode step:
both leave the batch's spans here (`expect`), and the next allocation serves them row
by row.  Page ids are host ints all the way; nothing is read from the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sglang.srt.mem_cache.allocator.base import BaseTokenToKVPoolAllocator

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.moves import Moves
from cachepawl.pool.uploads import to_device
from cachepawl.types import Runs
from cachepawl_launch.indices import TokenIds, token_ids
from cachepawl_launch.prefill_budget import ArenaPrefillBudget


class Span(NamedTuple):
    """Tokens `[start, stop)` of a row that are about to be computed."""

    row: int
    start: int
    stop: int


class ArenaTokenAllocator(BaseTokenToKVPoolAllocator):
    """KV pages out of the shared frames; token id = page * page_size + offset."""

    def __init__(
        self,
        cache: HybridPrefixCache,
        *,
        page_size: int,
        dtype: torch.dtype,
        device: str,
        kvcache: Any,
    ) -> None:
        self.cache = cache
        self._spans: list[Span] = []
        self._next: tuple[TokenIds, TokenIds] | None = None
        self._tails: TokenIds = np.zeros(0, np.int64)  # id of every row's last token
        self.awaits_forward = False
        """Token ids were handed out for a forward that is not launched yet."""
        self.device_reads = 0
        super().__init__(0, page_size, dtype, device, kvcache, need_sort=False)

    # -- sizes --------------------------------------------------------------------

    @property
    def size(self) -> int:
        """What KV holds plus what it could take now, in tokens.

        Bytes that states hold are in neither, so SGLang's equation `available +
        evictable + protected == size` says exactly that every page in use has one owner.
        """
        return self.available_size() + self.cache.frames.kv_pages * self.page_size

    @size.setter
    def size(self, value: int) -> None:
        """The base class writes it; the arena knows better."""

    @property
    def size_full(self) -> int:
        return self.cache.geometry.usable_frames * self.cache.geometry.tokens_per_frame

    def available_size(self) -> int:
        return self.cache.frames.available_pages * self.page_size

    full_available_size = available_size

    # -- allocation -----------------------------------------------------------------

    def set_rows(self, rows: int) -> None:
        """How many rows the request pool has; called once, when it is built."""
        self._tails = np.zeros(rows, np.int64)

    def expect(self, spans: list[Span]) -> None:
        """The rows that the next allocation is for, in batch order."""
        self._spans = spans

    def expect_next(self, rows: TokenIds, lengths: TokenIds) -> None:
        """The next allocation is one token for each of `rows`, which hold `lengths` now."""
        self._next = rows, lengths

    def alloc(self, need_size: int) -> torch.Tensor | None:
        """Indices of the expected spans, `(need_size,)` int64 on the device."""
        return self._serve(need_size)

    def alloc_extend(
        self,
        prefix_lens: torch.Tensor,
        prefix_lens_cpu: torch.Tensor,
        seq_lens: torch.Tensor,
        seq_lens_cpu: torch.Tensor,
        last_loc: torch.Tensor,
        extend_num_tokens: int,
    ) -> torch.Tensor | None:
        return self._serve(extend_num_tokens)

    def alloc_decode(
        self, seq_lens: torch.Tensor, seq_lens_cpu: torch.Tensor, last_loc: torch.Tensor
    ) -> torch.Tensor | None:
        return self._serve(len(seq_lens_cpu))

    def _serve(self, tokens: int) -> torch.Tensor | None:
        spans, step = self._spans, self._next
        self._spans, self._next = [], None
        expected = sum(span.stop - span.start for span in spans) if step is None else len(step[0])
        if expected != tokens:
            raise RuntimeError(
                f"cachepawl: SGLang asked for {tokens} tokens, the batch needs {expected}; a "
                f"feature that allocates KV in its own way is on"
            )
        ids = self._prefill(spans) if step is None else self._decode(*step)
        if ids is None:
            return None
        self.awaits_forward = True
        return to_device(ids, self.device)

    def _decode(self, rows: TokenIds, lengths: TokenIds) -> TokenIds | None:
        """The next token of every row; only rows whose last page is full need a new one."""
        ids = self._tails[rows] + 1
        full = np.flatnonzero(lengths % self.page_size == 0)
        if len(full):
            if not self.cache.make_room_for_pages(len(full)):
                return None
            pages = self.cache.next_pages(rows[full].tolist())
            ids[full] = np.array(pages, np.int64) * self.page_size
        self._tails[rows] = ids
        return ids

    def _prefill(self, spans: list[Span]) -> TokenIds | None:
        page, refs = self.page_size, self.cache.refs
        pages = sum(-(-span.stop // page) - refs.rows[span.row].count for span in spans)
        if not self.cache.make_room_for_pages(pages):
            return None
        parts = [self._tokens_of(span) for span in spans]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _tokens_of(self, span: Span) -> TokenIds:
        """A prefill: all tokens of the span, the rest of a begun page included."""
        page = self.page_size
        self.cache.allocate(span.row, span.stop)
        first = span.start // page
        runs = self.cache.refs.pages(span.row, first, -(-span.stop // page))
        ids = token_ids(runs, page)[span.start - first * page : span.stop - first * page]
        self._tails[span.row] = ids[-1]
        return ids

    def move_tails(self, moves: Moves) -> None:
        """Pages were moved: rows whose last token lay in one go on behind its new place."""
        sources, targets, counts = np.array(sorted(moves.every), np.int64).reshape(-1, 3).T
        pages = self._tails // self.page_size
        nearest = np.searchsorted(sources, pages, side="right") - 1
        # -1, for a page before all sources, is the last move, in which it does not lie.
        inside = (pages >= sources[nearest]) & (pages < (sources + counts)[nearest])
        self._tails += np.where(inside, (targets - sources)[nearest], 0) * self.page_size

    def get_extend_allocation_demand(
        self,
        prefix_lens_cpu: torch.Tensor,
        seq_lens_cpu: torch.Tensor,
        *,
        conservative_num_tokens: int,
        shard_size: int,
    ) -> int:
        """Nothing to evict ahead: the allocation makes exactly the room it needs."""
        return 0

    # -- giving back ----------------------------------------------------------------

    def free(self, free_index: torch.Tensor) -> None:
        """By device indices; only paths off the serving loop come here.

        The tree gives rows back by host page ids, so SGLang calls this for nothing
        but an allocation that it undoes.
        """
        if free_index.numel() == 0:
            return
        self.device_reads += 1
        raise RuntimeError(
            "cachepawl: SGLang frees KV by device indices, which only features do that "
            "cachepawl refuses; please report the flags of this server"
        )

    def clear(self) -> None:
        """The cache is reset as a whole by the tree."""
        self._spans, self._next = [], None

    def resize(self, config: Any) -> None:
        raise NotImplementedError("cachepawl's arena is not resized after the start")

    def free_group_begin(self) -> None:
        """Frees are cheap and immediate: nothing to group."""

    def free_group_end(self) -> None:
        """Nothing was held back."""

    def get_all_free_pages(self) -> None:
        """There is no list of free pages; SGLang's census then skips the pool."""
        return

    # -- room and admission ---------------------------------------------------------

    def evict_to_free_tokens(self, tree_cache: Any, num_tokens: int) -> bool | None:
        """Make room for `num_tokens` tokens, from either kind; False if that can't be.

        While spans are expected the allocation itself makes the room, exactly.
        """
        if self._spans or self._next is not None:
            return True
        return self.cache.make_room_for_pages(-(-num_tokens // self.page_size))

    def check_decode_capacity(
        self, *, num_tokens: int, tree_cache: Any, requests: Any = None, spec_algorithm: Any = None
    ) -> bool:
        return self.cache.make_room_for_pages(-(-num_tokens // self.page_size))

    def create_prefill_budget(
        self, tree_cache: Any, *, num_mixed_decode_tokens: int = 0
    ) -> ArenaPrefillBudget:
        return ArenaPrefillBudget(self, tree_cache, num_mixed_decode_tokens=num_mixed_decode_tokens)

    def request_slot_reserve(self, *, has_req_pool_slot: bool, prefill_tokens: int = 0) -> int:
        """The states that a new row takes, in tokens of the same bytes."""
        if has_req_pool_slot:
            return 0
        return self.cache.states_per_request * self.cache.geometry.tokens_per_frame

    def max_new_tokens_for_memory(
        self,
        input_tokens: int,
        max_new_tokens: int,
        *,
        token_capacity: int,
        sliding_window_size: int | None,
        chunk_size: int | None,
    ) -> int | None:
        """Clip an answer to what the empty arena holds; None when the prompt does not fit."""
        most = self.cache.answer_limit(input_tokens)
        return None if most is None else max(0, min(max_new_tokens, most))

    # -- looking --------------------------------------------------------------------

    def verify_byte_accounting(self) -> list[str]:
        return self.cache.frames.violations() + self.cache.refs.counter_violations()

    def debug_print(self) -> str:
        return f"arena: {self.cache.stats()}"

    def expected_row(self, row: int, length: int) -> TokenIds:
        """What the device row should hold: the mirror as token ids."""
        runs: Runs = self.cache.refs.pages(row, 0, self.cache.geometry.pages_of(length))
        return token_ids(runs, self.page_size)[:length]
