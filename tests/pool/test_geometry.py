"""Byte arithmetic: alignment, padding, frames, real models, the smallest arena."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.config import Options
from cachepawl.errors import ConfigError
from cachepawl.pool.geometry import (
    ENTRY_ALIGN,
    PART_ALIGN,
    Geometry,
    KvShape,
    StateShape,
    align,
    require_room_for_one,
)

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200, database=None)
MIB = 1 << 20

KV_SHAPES = st.builds(
    KvShape,
    layers=st.integers(1, 5),
    heads=st.integers(1, 3),
    head_dim=st.sampled_from([16, 48, 64]),
    v_head_dim=st.sampled_from([16, 32]),
    itemsize=st.sampled_from([1, 2]),
)
STATE_SHAPES = st.builds(
    StateShape,
    layers=st.integers(1, 4),
    conv_shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), max_size=3).map(tuple),
    conv_itemsize=st.sampled_from([2, 4]),
    temporal_shape=st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 5)),
    temporal_itemsize=st.sampled_from([2, 4]),
)
GEOMETRIES = st.builds(
    Geometry, KV_SHAPES, st.none() | STATE_SHAPES, st.sampled_from([1, 4, 16])
).filter(lambda geometry: geometry.frame_bytes > 0)


@SETTINGS
@given(KV_SHAPES)
def test_an_entry_is_its_rows_and_less_than_one_unit_of_padding(kv: KvShape) -> None:
    offsets = [(kv.k_offset(i), kv.k_row) for i in range(kv.layers)]
    offsets += [(kv.v_offset(i), kv.v_row) for i in range(kv.layers)]
    at = 0
    for offset, size in sorted(offsets):
        assert offset == at
        assert offset % PART_ALIGN == 0
        at += size
    assert kv.entry_bytes % ENTRY_ALIGN == 0
    assert 0 <= kv.entry_bytes - at < ENTRY_ALIGN


@SETTINGS
@given(STATE_SHAPES)
def test_the_parts_of_a_state_follow_each_other(state: StateShape) -> None:
    starts = [state.conv_offset(part) for part in range(len(state.conv_shapes))]
    rows = [state.conv_row(part) for part in range(len(state.conv_shapes))]
    starts, rows = [*starts, state.temporal_offset], [*rows, state.temporal_row]
    at = 0
    for start, row in zip(starts, rows, strict=True):
        assert start % PART_ALIGN == 0
        assert 0 <= start - at < PART_ALIGN
        at = start + state.layers * row
    assert state.state_bytes % PART_ALIGN == 0
    assert 0 <= state.state_bytes - at < PART_ALIGN


@SETTINGS
@given(GEOMETRIES, st.integers(0, 10**6))
def test_a_frame_is_the_fewest_pages_that_hold_a_state(geometry: Geometry, budget: int) -> None:
    assert geometry.frame_bytes == geometry.pages_per_frame * geometry.page_bytes
    assert geometry.page_bytes == geometry.page_tokens * geometry.entry_bytes
    if geometry.state is None:
        assert geometry.pages_per_frame == geometry.frame_pages
        assert geometry.padding == 0
    else:
        spare = geometry.frame_bytes - geometry.state_bytes
        assert 0 <= spare < geometry.page_bytes
        assert geometry.padding == pytest.approx(spare / geometry.frame_bytes)
    whole = geometry.with_budget(budget)
    assert whole.total_bytes <= budget < whole.total_bytes + geometry.frame_bytes
    assert whole.num_tokens * geometry.entry_bytes == whole.total_bytes
    assert whole.frame_pages == geometry.frame_pages


@SETTINGS
@given(GEOMETRIES, st.integers(0, 500), st.integers(0, 4))
def test_frames_of_a_request(geometry: Geometry, tokens: int, states: int) -> None:
    frames = geometry.frames_of_request(tokens, states) - states
    assert frames * geometry.tokens_per_frame >= tokens
    assert (frames - 1) * geometry.tokens_per_frame < max(tokens, 1)


@pytest.mark.parametrize("unit", [1, 16, 32, 100])
def test_align_is_the_next_multiple(unit: int) -> None:
    for n in range(3 * unit + 1):
        assert align(n, unit) == next(m for m in range(0, 5 * unit, unit) if m >= n)


def test_a_row_that_no_kernel_can_load_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"V row is 10 bytes .* not a multiple of 16; use fewer"):
        KvShape(layers=2, heads=1, head_dim=8, v_head_dim=5, itemsize=2)


def gated_delta(attention: int, linear: int, kv_heads: int) -> tuple[KvShape, StateShape]:
    """Qwen3-Next and Qwen3.5 configs: head_dim 256, 16 key and 32 value heads of 128, kernel 4."""
    channels = 2 * 16 * 128 + 32 * 128
    return (
        KvShape(attention, kv_heads, 256, 256, itemsize=2),
        StateShape(linear, ((channels, 3),), 2, (32, 128, 128), 4),
    )


@pytest.mark.parametrize(
    ("shapes", "entry", "mib", "tokens", "padding"),
    [
        pytest.param(gated_delta(12, 36, 2), 24576, 73.7, 3144, (0.25, 1.78), id="Qwen3-Next-80B"),
        pytest.param(gated_delta(10, 30, 2), 20480, 61.4, 3144, (0.25, 1.78), id="Qwen3.5-35B"),
        pytest.param(gated_delta(8, 24, 4), 32768, 49.1, 1572, (0.76, 1.78), id="Qwen3.5-9B"),
    ],
)
def test_real_models(
    shapes: tuple[KvShape, StateShape],
    entry: int,
    mib: float,
    tokens: int,
    padding: tuple[float, float],
) -> None:
    for page, percent in zip((16, 64), padding, strict=True):
        geometry = Geometry(*shapes, page)
        assert geometry.entry_bytes == entry
        assert round(geometry.state_bytes / MIB, 1) == mib
        assert geometry.state_bytes // entry == tokens
        # The published figures are relative to the state, `padding` is a share of the frame.
        over = geometry.frame_bytes / geometry.state_bytes - 1
        assert round(100 * over, 2) == percent
        assert geometry.padding == pytest.approx(over / (1 + over))


def test_a_frame_of_qwen3_next_is_197_pages() -> None:
    geometry = Geometry(*gated_delta(12, 36, 2), 16)
    assert geometry.pages_per_frame == 197
    assert geometry.frame_bytes == 197 * 16 * 24576
    assert Geometry(*gated_delta(12, 36, 2), 64).pages_per_frame == 50


@SETTINGS
@given(GEOMETRIES, st.integers(0, 4))
def test_the_smallest_arena(geometry: Geometry, states: int) -> None:
    least = (1 + geometry.frames_of_request(2 * geometry.page_tokens, states)) * (
        geometry.frame_bytes
    )
    require_room_for_one(geometry, least, states)
    budget = least - 1
    with pytest.raises(ConfigError) as refused:
        require_room_for_one(geometry, budget, states)
    text = str(refused.value)
    assert f"the arena of {budget} bytes" in text
    assert f"at least {least} bytes" in text
    assert "--mem-fraction-static" in text
    # Who follows the advice is let in.
    advised = re.search(r"--cachepawl-device-gb ([0-9.]+)", text)
    assert advised is not None
    given_bytes = Options(device_gb=float(advised[1])).device_bytes
    assert given_bytes is not None
    require_room_for_one(geometry, given_bytes, states)
