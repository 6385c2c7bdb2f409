"""Interleaved decodes must not leave every frame pinned when all but one request end.

Frames of 197 pages, as Qwen3-Next has at page 16.  Handed out page by page in the
order of the steps, the 128 pages of one of 64 requests would lie in 42 frames.
"""

from __future__ import annotations

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

FULL = 197
PAGE = 16


def cache_of(frames: int) -> HybridPrefixCache:
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    state = StateShape(1, (), 2, (FULL * PAGE * kv.entry_bytes // 4,), 4)
    geometry = Geometry(kv, state, PAGE, frames)
    assert geometry.pages_per_frame == FULL
    return HybridPrefixCache(geometry, states_per_request=0)


def decode_side_by_side(cache: HybridPrefixCache, requests: int, pages: int) -> None:
    for row in range(requests):
        cache.open_row(row, cache.tree.root, 0)
    for page in range(pages):
        for row in range(requests):
            cache.allocate(row, PAGE * (page + 1))


def frames_of(cache: HybridPrefixCache, row: int) -> set[int]:
    return {cache.frames.frame_of(p) for p in cache.refs.pages(row, 0, 10**6)}


def finish(cache: HybridPrefixCache, row: int) -> None:
    cache.release(row, 0, 10**6)
    cache.close_row(row)


@pytest.mark.parametrize(
    ("requests", "pages", "most", "naive"), [(64, 128, 12, 42), (256, 32, 8, 32)]
)
@pytest.mark.parametrize("spare", [0, 5, 60])
def test_a_survivor_pins_few_frames(
    requests: int, pages: int, most: int, naive: int, spare: int
) -> None:
    # With `spare` 0 the pages fill all frames: reservations are taken back all along.
    needed = -(-requests * pages // FULL)
    cache = cache_of(1 + needed + spare)
    decode_side_by_side(cache, requests, pages)
    in_order = {(step * requests) // FULL for step in range(pages)}
    assert len(in_order) == naive
    assert max(len(frames_of(cache, row)) for row in range(requests)) <= most
    cache.check(2)
    for row in range(1, requests):
        finish(cache, row)
    assert cache.frames.pinned_frames == cache.frames.kv_frames <= most
    assert cache.fits(0, cache.frames.num_frames - 1 - most)
    cache.check(2)


def test_the_last_page_can_be_had() -> None:
    cache = cache_of(1 + 5)
    decode_side_by_side(cache, 5, FULL)
    assert cache.frames.available_pages == 0
    assert cache.frames.counters.reservations_revoked > 0
    owners = [page for row in range(5) for page in cache.refs.pages(row, 0, FULL)]
    assert sorted(owners) == list(range(FULL, 6 * FULL))
    cache.check(2)


def test_a_reservation_ends_with_its_row() -> None:
    cache = cache_of(3)
    decode_side_by_side(cache, 2, 3)
    finish(cache, 0)
    # Row 0 had pages 197.. and what follows them.
    cache.open_row(2, cache.tree.root, 0)
    assert cache.allocate(2, PAGE).page_at(0) == FULL
    cache.check(2)
