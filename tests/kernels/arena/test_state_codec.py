"""Compressed states by the kernel and by plain torch: the same bytes, and a trial at start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.movement import Movement, TorchMovement
from cachepawl.pool.state_codec import StateCodec, forms_of
from cachepawl.pool.triton_movement import FallingBack, TritonMovement
from cachepawl.specs.presets import preset
from cachepawl_launch.movement import choose_movement, try_out

DTYPES = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.float32)
FRAMES = 6
TINY = Geometry(
    KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2),
    StateShape(2, ((8, 3), (4, 4)), 2, (4, 16, 24), 4),
    page_tokens=4,
    num_frames=FRAMES,
)


def one_layer(name: str) -> Geometry:
    """Two heads of one layer of a state that a rank of eight holds: what tests can afford."""
    geometry = geometry_from_spec(preset(name).spec(), page_tokens=16, tp=8)
    state = geometry.state
    assert state is not None
    assert state.temporal_itemsize == 4
    state = replace(state, layers=1, temporal_shape=(2, *state.temporal_shape[1:]))
    return Geometry(TINY.kv, state, page_tokens=16, num_frames=FRAMES)


MODELS = ("Qwen3-Next-80B-A3B-Instruct", "NVIDIA-Nemotron-Nano-9B-v2")


def arena_of(geometry: Geometry, movement: Movement, device: str) -> Arena:
    """States of numbers of many magnitudes; what is no state is random."""
    arena = Arena(geometry, geometry.total_bytes, device, DTYPES, movement)
    draw = torch.Generator().manual_seed(3)
    arena.raw.copy_(torch.randint(0, 255, arena.raw.shape, generator=draw, dtype=torch.uint8))
    view = arena.temporal_view()
    numbers = torch.randn(view.shape, generator=draw)
    view.copy_(numbers * torch.exp(4 * torch.randn(view.shape[:-1], generator=draw))[..., None])
    return arena


def both(geometry: Geometry, device: str) -> list[Arena]:
    kernels = FallingBack(TritonMovement(), TorchMovement())
    return [arena_of(geometry, one, device) for one in (kernels, TorchMovement())]


def orders(per: int) -> list[Batch]:
    """There, to another place, and back; two at once."""
    return [
        Batch(Kind.COMPRESS, [1, 2], [3 * per + 1, 4 * per]),
        Batch(Kind.MOVE, [3 * per + 1], [5 * per + per - 1]),
        Batch(Kind.EXPAND, [5 * per + per - 1, 4 * per], [1, 3]),
    ]


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("name", [None, *MODELS])
def test_the_same_bytes(device: str, guard: Any, name: str | None, dtype: str) -> None:
    geometry = (one_layer(name) if name else TINY).with_checkpoints(dtype)
    ours, plain = both(geometry, device)
    before = ours.raw.clone()
    todo = orders(geometry.checkpoints_per_frame)
    for batch in todo:
        StateCodec(ours).copy(batch)
        StateCodec(plain).copy(batch)
        assert torch.equal(ours.raw, plain.raw), batch
    assert not torch.equal(ours.raw, before)
    assert ours.movement.name == "triton"
    assert ours.movement.calls == plain.movement.calls == {"fork_states": len(todo)}
    assert guard is None or guard.launches == len(todo)


@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(data=st.data(), dtype=st.sampled_from(["int8", "fp8"]))
def test_any_places(device: str, data: st.DataObject, dtype: str) -> None:
    geometry = TINY.with_checkpoints(dtype)
    per = geometry.checkpoints_per_frame
    ours, plain = both(geometry, device)
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(Kind))
        frames = data.draw(st.permutations(range(FRAMES)))
        count = data.draw(st.integers(0, FRAMES // 2))
        places = [frame * per + data.draw(st.integers(0, per - 1)) for frame in frames]
        came = frames if kind is Kind.COMPRESS else places
        to = frames if kind is Kind.EXPAND else places
        batch = Batch(kind, list(came[:count]), list(to[count : 2 * count]))
        for arena in (ours, plain):
            StateCodec(arena).copy(batch)
        assert torch.equal(ours.raw, plain.raw), batch
    assert ours.movement.fallbacks == 0


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_conversions_are_tried_at_start(device: str, guard: Any, dtype: str) -> None:
    forms = forms_of(TINY.with_checkpoints(dtype), DTYPES)
    assert choose_movement("triton", device, forms).name == "triton"
    assert guard is None or guard.launches == 4 + len(Kind)


def test_a_trial_notices_a_wrong_conversion(device: str) -> None:
    class OneCodeUp(TritonMovement):
        def fork_states(self, raw: torch.Tensor, dst: Any, src: Any) -> None:
            super().fork_states(raw, dst, src)
            raw[int(dst.starts[0]) + dst.layout.parts[-1].offset] += 1

    with pytest.raises(RuntimeError, match="a trial conversion of a state came out wrong"):
        try_out(OneCodeUp(), device, forms_of(TINY.with_checkpoints("int8"), DTYPES))


def test_torch_takes_over_where_a_conversion_does_not_compile(device: str) -> None:
    class Fails(TritonMovement):
        def fork_states(self, *_: Any) -> None:
            raise RuntimeError("no compiler")

    geometry = TINY.with_checkpoints("int8")
    ours = arena_of(geometry, FallingBack(Fails(), TorchMovement()), device)
    plain = arena_of(geometry, TorchMovement(), device)
    for batch in orders(geometry.checkpoints_per_frame):
        StateCodec(ours).copy(batch)
        StateCodec(plain).copy(batch)
    assert torch.equal(ours.raw, plain.raw)
    assert (ours.movement.name, ours.movement.fallbacks) == ("torch", 1)
