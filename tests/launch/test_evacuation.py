"""What an evacuation does to the bytes, the device rows and the mirror of last tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InvariantError
from cachepawl.evacuation import Admission
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl_launch.evacuation import PageMover
from cachepawl_launch.token_allocator import ArenaTokenAllocator, Span

PAGE, FULL, ROWS = 4, 3, 5
WIDTH = 26
"""Positions of a device row; no multiple of the page."""


class Bench:
    """A cache with its arena, and device rows as SGLang keeps them."""

    def __init__(self, frames: int = 8) -> None:
        kv = KvShape(layers=2, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
        state = StateShape(1, (), 2, (FULL * PAGE * kv.entry_bytes // 4,), 4)
        geometry = Geometry(kv, state, PAGE, frames)
        assert geometry.pages_per_frame == FULL
        dtypes = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.float32)
        self.arena = Arena(geometry, geometry.total_bytes, "cpu", dtypes)
        self.cache = HybridPrefixCache(geometry, states_per_request=0)
        self.allocator = ArenaTokenAllocator(
            self.cache, page_size=PAGE, dtype=torch.bfloat16, device="cpu", kvcache=None
        )
        self.allocator.set_rows(ROWS)
        self.rows = torch.zeros(ROWS, WIDTH, dtype=torch.int32)
        self.lengths: dict[int, int] = {}
        self.mover = PageMover(self.arena, self.allocator, self.rows, self.clear_turned)
        self.cache.carry = self.mover
        self.cache.frames.on_release = self.arena.poison_frame

    def clear_turned(self) -> None:
        frames = self.cache.frames
        self.arena.zero_frames(frames.turned_to_kv)
        frames.turned_to_kv = []

    def prefill(self, row: int, tokens: int) -> None:
        self.cache.open_row(row, self.cache.tree.root, 0)
        self.allocator.expect([Span(row, 0, tokens)])
        self.write(row, 0, self.allocator.alloc(tokens))

    def decode(self, row: int) -> None:
        at = self.lengths[row]
        rows, lengths = torch.tensor([row]).numpy(), torch.tensor([at]).numpy()
        self.allocator.expect_next(rows, lengths)
        self.write(row, at, self.allocator.alloc(1))

    def write(self, row: int, start: int, ids: Any) -> None:
        """A forward: every token's KV says whose it is and where."""
        self.lengths[row] = start + len(ids)
        self.rows[row, start : start + len(ids)] = ids.to(torch.int32)
        self.mover.forward_started()
        self.clear_turned()
        self.arena.k_view(1)[ids, 0, 0] = torch.arange(start, start + len(ids)).bfloat16()
        self.arena.v_view(0)[ids, 0, 7] = float(row)

    def decode_side_by_side(self) -> None:
        """Rows 1 to 4, 19 tokens each, page by page: their last pages have room."""
        for row in (1, 2, 3, 4):
            self.prefill(row, 3)
        for _ in range(16):
            for row in (1, 2, 3, 4):
                self.decode(row)

    def make_way(self) -> None:
        """Ask for one slot more than eviction could make."""
        frames, before = self.cache.frames, self.cache.frames.pinned_frames
        states = next(n for n in range(frames.num_frames) if not self.cache.fits(0, n))
        assert self.cache.make_way(0, states) is Admission.OPEN
        assert frames.pinned_frames == before - 1

    def finish(self, row: int) -> None:
        self.cache.release(row, 0, 10**6)
        self.cache.close_row(row)
        del self.lengths[row]

    def check(self) -> None:
        self.cache.check(2)
        for row, length in self.lengths.items():
            ids = self.rows[row, :length].long()
            assert ids.tolist() == self.allocator.expected_row(row, length).tolist()
            assert self.arena.k_view(1)[ids, 0, 0].tolist() == list(range(length))
            assert self.arena.v_view(0)[ids, 0, 7].tolist() == [row] * length


@pytest.fixture
def bench() -> Bench:
    """Rows that were decoded side by side until the arena was full; half of them have ended."""
    bench = Bench()
    bench.decode_side_by_side()
    bench.finish(2)
    bench.finish(3)
    bench.check()
    return bench


def test_rows_read_the_same_afterwards(bench: Bench) -> None:
    while bench.cache.frames.pinned_frames > 4:
        bench.make_way()
        bench.check()
    bench.cache.take_states(bench.cache.frames.available_states)
    for row in (1, 4):
        bench.decode(row)
        bench.check()


def test_answers_go_on_from_a_moved_last_token() -> None:
    bench = Bench()
    for row in (1, 2, 3):
        bench.prefill(row, 7)
    last = [bench.cache.refs.rows[row].last_page for row in (1, 2, 3)]
    bench.make_way()
    assert [bench.cache.refs.rows[row].last_page for row in (1, 2, 3)] != last
    for row in (1, 2, 3, 1, 2, 3):
        bench.decode(row)
        bench.check()


def test_a_frame_that_turned_is_cleared_before_pages_come_in() -> None:
    """Cleared at the next forward, as it would have been, the copies would go too."""
    bench = Bench(frames=10)
    cache = bench.cache
    cache.free_states(cache.take_states(9))
    bench.decode_side_by_side()
    cache.open_row(0, cache.tree.root, 0)
    cache.allocate(0, 3 * PAGE)  # no forward follows
    (turned,) = cache.frames.turned_to_kv
    bench.finish(2)
    bench.finish(3)
    bench.make_way()
    assert cache.frames.pinned_in(turned) == FULL
    assert cache.frames.turned_to_kv == []
    bench.mover.forward_started()
    bench.clear_turned()
    bench.check()


def test_not_between_a_batch_and_its_forward(bench: Bench) -> None:
    bench.allocator.expect([Span(1, bench.lengths[1], bench.lengths[1] + 1)])
    bench.allocator.alloc(1)
    with pytest.raises(InvariantError, match="not launched"):
        bench.make_way()
