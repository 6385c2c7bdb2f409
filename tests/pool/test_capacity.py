"""What the table promises against an allocator that tries."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.pool.capacity import Capacity
from cachepawl.pool.frames import FrameAllocator
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

KV = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)


def capacity(frames: int, full: int, page: int, states: int) -> Capacity:
    state = StateShape(1, (), 2, (full * page * KV.entry_bytes // 4,), 4)
    geometry = Geometry(KV, state, page, frames)
    assert geometry.pages_per_frame == full
    return Capacity(geometry, geometry.total_bytes, states, True)


@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([1, 4]),
    st.integers(0, 2),
    st.integers(1, 60),
)
def test_requests_at(frames: int, full: int, page: int, states: int, tokens: int) -> None:
    promised = capacity(frames, full, page, states)
    arena = FrameAllocator(frames, full)
    requests = 0
    # States of all first: pages in between would sit in frames that states want.
    while arena.fits((requests + 1) * -(-tokens // page), (requests + 1) * states, 0):
        requests += 1
    assert arena.alloc_states(requests * states) is not None
    for row in range(requests):
        assert arena.alloc_pages(row, -(-tokens // page)) is not None
    assert promised.requests_at(tokens) == requests


def test_a_model_without_states_has_no_row_for_them() -> None:
    geometry = Geometry(KV, None, 1, 9, frame_pages=4)
    table = dict(Capacity(geometry, 9 * 128, 0, False).rows())
    assert "a state" not in table
    assert table["budget"] == "1.12 KiB (estimate)"
    assert table["frames"].startswith("8 of 128 B, 4 pages")


def test_rows_name_the_numbers() -> None:
    table = dict(capacity(9, 4, 16, 2).rows())
    assert table["budget"] == "18.00 KiB (exact)"
    assert table["KV of a token"] == "32 B"
    assert table["a state"] == "2.00 KiB = KV of 64 tokens"
    assert table["frames"].startswith("8 of 2.00 KiB, 4 pages of 16 tokens each")
    assert table["longest request"] == f"{6 * 64} tokens"
