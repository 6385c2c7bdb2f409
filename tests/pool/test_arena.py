"""Every view covers exactly the bytes that the geometry names, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

KV = KvShape(layers=3, heads=2, head_dim=8, v_head_dim=16, itemsize=2)
STATE = StateShape(2, ((3, 3), (5,)), 2, (2, 3, 4), 4)
DTYPES = ArenaDtypes(torch.bfloat16, torch.float16, torch.float32)
FRAMES = 4
SPARE = 37


@pytest.fixture(params=[1, 2])
def arena(request: pytest.FixtureRequest) -> Arena:
    geometry = Geometry(KV, STATE, request.param, FRAMES)
    return Arena(geometry, geometry.total_bytes + SPARE, "cpu", DTYPES)


def kv_rows(arena: Arena) -> Iterator[tuple[torch.Tensor, int, int]]:
    """A layer's K or V of one token, and its first byte and length by the geometry."""
    g = arena.geometry
    for layer in range(KV.layers):
        for token in range(g.num_tokens):
            at = token * g.entry_bytes
            yield arena.k_view(layer)[token], at + KV.k_offset(layer), KV.k_row
            yield arena.v_view(layer)[token], at + KV.v_offset(layer), KV.v_row


def state_rows(arena: Arena) -> Iterator[tuple[torch.Tensor, int, int]]:
    """A layer's conv or temporal part of one state, and its place by the geometry."""
    for slot in range(FRAMES):
        for layer in range(STATE.layers):
            at = slot * arena.geometry.frame_bytes
            for part in range(len(STATE.conv_shapes)):
                size = STATE.conv_row(part)
                start = at + STATE.conv_offset(part) + layer * size
                yield arena.conv_view(part)[layer, slot], start, size
            start = at + STATE.temporal_offset + layer * STATE.temporal_row
            yield arena.temporal_view()[layer, slot], start, STATE.temporal_row


def written_bytes(arena: Arena, view: torch.Tensor) -> list[int]:
    """Positions in the buffer that a write through `view` changes."""
    arena.raw.zero_()
    # All bits of every element, so that no byte of the element stays as it was.
    bits = {2: torch.int16, 4: torch.int32}[view.element_size()]
    view.view(bits).fill_(-1)
    return arena.raw.nonzero().flatten().tolist()


def test_a_row_is_its_bytes_and_no_row_overlaps(arena: Arena) -> None:
    for rows in (list(kv_rows(arena)), list(state_rows(arena))):
        seen: set[int] = set()
        for view, start, size in rows:
            touched = written_bytes(arena, view)
            assert touched == list(range(start, start + size))
            assert seen.isdisjoint(touched)
            seen.update(touched)


def test_kv_and_states_of_different_frames_are_disjoint(arena: Arena) -> None:
    g = arena.geometry
    for view, start, size in [*kv_rows(arena), *state_rows(arena)]:
        frame = start // g.frame_bytes
        assert (start + size - 1) // g.frame_bytes == frame
        assert {at // g.frame_bytes for at in written_bytes(arena, view)} == {frame}


def test_shapes_and_strides(arena: Arena) -> None:
    g = arena.geometry
    for layer in range(KV.layers):
        k, v = arena.k_view(layer), arena.v_view(layer)
        assert k.shape == (g.num_tokens, 2, 8)
        assert v.shape == (g.num_tokens, 2, 16)
        assert k.stride(0) * 2 == v.stride(0) * 2 == g.entry_bytes
    for part, shape in enumerate(STATE.conv_shapes):
        conv = arena.conv_view(part)
        assert conv.shape == (STATE.layers, FRAMES, *shape)
        assert conv.stride(1) * 2 == g.frame_bytes
    assert arena.temporal_view().shape == (STATE.layers, FRAMES, 2, 3, 4)
    assert arena.temporal_view().stride(1) * 4 == g.frame_bytes


def test_all_views_share_the_one_buffer(arena: Arena) -> None:
    views = [arena.k_view(0), arena.v_view(2), arena.conv_view(1), arena.temporal_view()]
    for view in [*views, arena.frames, arena.states]:
        assert view.untyped_storage().data_ptr() == arena.raw.untyped_storage().data_ptr()


def test_reserved_is_the_budget_to_the_byte(arena: Arena) -> None:
    assert arena.raw.untyped_storage().nbytes() == arena.budget
    assert arena.budget == arena.geometry.total_bytes + SPARE


def test_a_budget_below_the_frames_is_refused() -> None:
    geometry = Geometry(KV, STATE, 1, FRAMES)
    need = geometry.total_bytes
    with pytest.raises(ValueError, match=f"{need - 1} bytes for {need} bytes of frames"):
        Arena(geometry, need - 1, "cpu", DTYPES)


# What changes bytes changes those of the named frames alone


def noise(arena: Arena) -> torch.Tensor:
    seed = torch.Generator().manual_seed(7)
    arena.raw.copy_(torch.randint(1, 255, arena.raw.shape, generator=seed, dtype=torch.uint8))
    return arena.raw.clone()


def state_bytes(arena: Arena, slot: int) -> slice:
    start = slot * arena.geometry.frame_bytes
    return slice(start, start + arena.geometry.state_bytes)


def frame_bytes(arena: Arena, frame: int) -> slice:
    size = arena.geometry.frame_bytes
    return slice(frame * size, (frame + 1) * size)


def test_copy_states(arena: Arena) -> None:
    wanted = noise(arena)
    for src, dst in ((1, 3), (0, 2)):
        wanted[state_bytes(arena, dst)] = wanted[state_bytes(arena, src)]
    arena.copy_states(torch.tensor([1, 0]), torch.tensor([3, 2]))
    assert torch.equal(arena.raw, wanted)


def test_zero_states(arena: Arena) -> None:
    wanted = noise(arena)
    wanted[state_bytes(arena, 2)] = 0
    arena.zero_states(torch.tensor([2]))
    assert torch.equal(arena.raw, wanted)


def test_zero_frames(arena: Arena) -> None:
    wanted = noise(arena)
    wanted[frame_bytes(arena, 1)] = wanted[frame_bytes(arena, 3)] = 0
    arena.zero_frames([3, 1])
    assert torch.equal(arena.raw, wanted)
    arena.zero_frames([])
    assert torch.equal(arena.raw, wanted)


def test_poison_is_nan_in_every_view(arena: Arena) -> None:
    wanted = noise(arena)
    wanted[frame_bytes(arena, 2)] = 0xFF
    arena.poison_frame(2)
    assert torch.equal(arena.raw, wanted)
    tokens = arena.geometry.tokens_per_frame
    assert arena.k_view(1)[2 * tokens : 3 * tokens].isnan().all()
    assert arena.conv_view(0)[:, 2].isnan().all()
    assert arena.temporal_view()[:, 2].isnan().all()
    assert not arena.temporal_view()[:, 1].isnan().all()


def test_a_model_without_states_has_no_state_bytes() -> None:
    geometry = Geometry(KV, None, 4, FRAMES, frame_pages=3)
    arena = Arena(geometry, geometry.total_bytes, "cpu", ArenaDtypes(torch.bfloat16))
    assert arena.states.shape == (FRAMES, 0)
    assert arena.k_view(0).shape[0] == FRAMES * 3 * 4
