"""KV allocation: a request of 4096 tokens comes and goes, a batch of 256 decodes one token.

    column     what a call is
    host       `HybridPrefixCache.allocate` / `.release` and `.close_row`: page references
               and frames.  No tensor, no array.
    indices    `token_ids` of the request's page runs: the array that goes to the device
    whole      `ArenaTokenAllocator.expect` and `.alloc_extend` / `.alloc_decode`, naming the
               rows included: what SGLang calls, host and indices and the tensor; on a GPU
               there is one asynchronous copy besides
    sglang     `TokenToKVPoolAllocator` (page 1) or `PagedTokenToKVPoolAllocator`:
               `alloc` or `alloc_extend` / `alloc_decode`, `free` or `free_segment`

SGLang's allocators are measured on CPU TENSORS.  There a free copies the whole list of free
pages, and the paged ones run their plain PyTorch paths.  On a GPU the same calls are views
and kernel launches (`cat`, two Triton kernels), whose cost on the host does not depend on
the size; that is not measured here.  So their figures say what a CPU server pays, not a GPU
server; ours are host work on both.

Both sides hold 64 requests of 4096 tokens, of which the oldest goes and a new one comes,
in a pool of 524288 tokens.  The decode batch has 256 rows of 512 to 1535 tokens, other
lengths at every page; a step gives each row one more token, so one row in `page` needs a
page.  Neither side matches, evicts or writes a request's row of indices.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sglang.srt.mem_cache.allocator import PagedTokenToKVPoolAllocator, TokenToKVPoolAllocator

from benchmarks.clock import Timed, interleave, median_us
from benchmarks.ours import frames_of, make_cache
from benchmarks.sglang_tree import sglang_context
from benchmarks.subject import ignore
from cachepawl_launch.indices import token_ids
from cachepawl_launch.token_allocator import ArenaTokenAllocator, Span

POOL_TOKENS = 1 << 19
REQUEST = 4096
HELD = 64
BATCH = 256
SHORTEST, LONGEST = 512, 1536
CALLS, QUICK_CALLS = 320, 32

ALLOCATE = "allocate 4096 tokens"
FREE = "free 4096 tokens"
DECODE = "decode step, 256 rows"
ROWS = (ALLOCATE, FREE, DECODE)
COLUMNS = ("host", "indices", "whole", "sglang")
AllocRow = dict[str, Any]


class Host:
    """The cache's verbs, rows opened on nothing cached."""

    def __init__(self, page: int) -> None:
        self.page = page
        self.cache = make_cache(page, frames_of(page, POOL_TOKENS))
        self._next_row = 0

    def open_row(self) -> int:
        self._next_row += 1
        self.cache.open_row(self._next_row, self.cache.tree.root, 0)
        return self._next_row

    def allocate(self) -> tuple[Callable[[], Any], Callable[[Any], int]]:
        """The call, and what tells the request from its result."""
        cache, row = self.cache, self.open_row()
        return lambda: cache.allocate(row, REQUEST), lambda _: row

    def free(self, row: int) -> Callable[[], Any]:
        cache = self.cache

        def call() -> None:
            cache.release(row, 0, REQUEST)
            cache.close_row(row)

        return call

    def start_decoding(self, lengths: list[int]) -> None:
        self.rows = [self.open_row() for _ in lengths]
        for row, length in zip(self.rows, lengths, strict=True):
            self.cache.allocate(row, length)

    def decode(self, lengths: list[int]) -> Callable[[], Any]:
        """The next token of every row; asks the cache only where a page begins."""
        cache, page, rows = self.cache, self.page, np.array(self.rows)
        before = np.array(lengths)

        def call() -> None:
            full = rows[before % page == 0]
            if len(full):
                cache.make_room_for_pages(len(full))
                cache.next_pages(full.tolist())

        return call


class Whole(Host):
    """The allocator that SGLang calls, over the same verbs."""

    def __init__(self, page: int) -> None:
        super().__init__(page)
        self.allocator = ArenaTokenAllocator(
            self.cache, page_size=page, dtype=torch.bfloat16, device="cpu", kvcache=None
        )
        self.allocator.set_rows(1 << 16)

    def allocate(self) -> tuple[Callable[[], Any], Callable[[Any], int]]:
        allocator, row = self.allocator, self.open_row()
        lens = extend_arguments()

        def call() -> torch.Tensor | None:
            allocator.expect([Span(row, 0, REQUEST)])
            return allocator.alloc_extend(*lens)

        return call, lambda _: row

    def start_decoding(self, lengths: list[int]) -> None:
        self.rows = [self.open_row() for _ in lengths]
        for row, length in zip(self.rows, lengths, strict=True):
            self.allocator.expect([Span(row, 0, length)])
            self.allocator.alloc(length)

    def decode(self, lengths: list[int]) -> Callable[[], Any]:
        allocator, rows = self.allocator, torch.tensor(self.rows)
        before = torch.tensor(lengths)

        def call() -> torch.Tensor | None:
            # What the hook before `alloc_for_decode` does with the batch.
            allocator.expect_next(rows.numpy(), before.numpy())
            return allocator.alloc_decode(before, before, before)

        return call


class Indices(Host):
    """Only the arrays: rows are allocated before the clock starts."""

    def allocate(self) -> tuple[Callable[[], Any], Callable[[Any], int]]:
        row, page = self.open_row(), self.page
        runs = self.cache.allocate(row, REQUEST)
        return lambda: token_ids(runs, page), lambda _: row


class Sglang:
    """SGLang's allocator of the page size; requests are their index tensors."""

    def __init__(self, page: int) -> None:
        common = {"dtype": torch.bfloat16, "device": "cpu", "kvcache": None, "need_sort": False}
        self.page = page
        if page == 1:
            self.allocator = TokenToKVPoolAllocator(POOL_TOKENS, **common)
        else:
            self.allocator = PagedTokenToKVPoolAllocator(POOL_TOKENS, page_size=page, **common)

    def allocate(self) -> tuple[Callable[[], Any], Callable[[Any], torch.Tensor]]:
        allocator = self.allocator
        if self.page == 1:
            return lambda: allocator.alloc(REQUEST), lambda got: got
        lens = extend_arguments()
        return lambda: allocator.alloc_extend(*lens), lambda got: got

    def free(self, request: torch.Tensor) -> Callable[[], Any]:
        allocator = self.allocator
        if self.page == 1:
            return lambda: allocator.free(request)
        return lambda: allocator.free_segment(request, start_pos=0)

    def start_decoding(self, lengths: list[int]) -> None:
        pages = [-(-length // self.page) * self.page for length in lengths]
        ids = [self.allocator.alloc(n) for n in pages]
        self.last = torch.stack([t[n - 1] for t, n in zip(ids, lengths, strict=True)])

    def decode(self, lengths: list[int]) -> Callable[[], Any]:
        allocator, now = self.allocator, torch.tensor(lengths) + 1
        if self.page == 1:
            return lambda: allocator.alloc(BATCH)

        def call() -> torch.Tensor | None:
            self.last = allocator.alloc_decode(now, now, self.last)
            return self.last

        return call


def extend_arguments() -> tuple[
    torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int
]:
    """What SGLang passes to `alloc_extend` for one request without a prefix."""
    none, all_, last = torch.tensor([0]), torch.tensor([REQUEST]), torch.tensor([-1])
    return none, none, all_, all_, last, REQUEST


MAKERS: dict[str, Callable[[int], Any]] = {
    "host": Host,
    "indices": Indices,
    "whole": Whole,
    "sglang": Sglang,
}


def measure(page: int, calls: int) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """`(row, nanoseconds by column)` at one page size."""
    with sglang_context(page):
        yield from _measure_requests(page, calls)
        yield DECODE, _measure_decode(page, calls)


def _measure_requests(page: int, calls: int) -> Iterator[tuple[str, dict[str, list[int]]]]:
    subjects = {column: make(page) for column, make in MAKERS.items()}
    held: dict[Any, deque[Any]] = {subject: deque() for subject in subjects.values()}

    def free(subject: Any, _: int) -> Timed:
        return Timed(subject.free(held[subject].popleft()), ignore)

    def allocate(subject: Any, _: int) -> Timed:
        call, request_of = subject.allocate()
        return Timed(call, lambda got: held[subject].append(request_of(got)))

    for subject in subjects.values():
        for i in range(HELD):
            timed = allocate(subject, i)
            timed.finish(timed.call())
    freed, allocated = interleave(list(subjects.values()), calls, free, allocate)
    yield FREE, {c: freed[s] for c, s in subjects.items() if c in ("host", "sglang")}
    yield ALLOCATE, {column: allocated[subject] for column, subject in subjects.items()}


def _measure_decode(page: int, calls: int) -> dict[str, list[int]]:
    subjects = {column: make(page) for column, make in MAKERS.items() if column != "indices"}
    chance = random.Random(page)
    lengths = [chance.randrange(SHORTEST, LONGEST) for _ in range(BATCH)]
    for subject in subjects.values():
        subject.start_decoding(lengths)

    def step(subject: Any, i: int) -> Timed:
        return Timed(subject.decode([length + i for length in lengths]), ignore)

    (times,) = interleave(list(subjects.values()), calls, step)
    return {column: times[subject] for column, subject in subjects.items()}


def measure_all(pages: Iterable[int], calls: int, note: Callable[[str], None]) -> list[AllocRow]:
    """Every row at every page size."""
    rows = []
    for page in pages:
        found = dict(measure(page, calls))
        for name in ROWS:
            note(f"page {page}: {name}")
            times = found[name]
            medians = {f"{c}_us": median_us(times[c]) if c in times else None for c in COLUMNS}
            rows.append({"row": name, "page": page, **medians, "calls": calls})
    return rows
