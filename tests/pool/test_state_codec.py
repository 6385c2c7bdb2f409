"""Compressed states: their bytes, what rounding may cost, and what is left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.errors import ConfigError
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.state_codec import StateCodec
from cachepawl_kernels.fork.layout import check_state_layout, packed_layout

KV = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
SHAPE = StateShape(2, ((8, 3), (4, 4)), 2, (4, 16, 24), 4)
DTYPES = {"int8", "fp8"}


def arena_of(dtype: str | None, shape: StateShape = SHAPE, frames: int = 6) -> Arena:
    geometry = Geometry(KV, shape, 4, frames).with_checkpoints(dtype)
    conv = torch.float32 if shape.conv_itemsize == 4 else torch.bfloat16
    temporal = torch.float32 if shape.temporal_itemsize == 4 else torch.bfloat16
    return Arena(geometry, geometry.total_bytes, "cpu", ArenaDtypes(torch.bfloat16, conv, temporal))


def bound(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Half a step of every element's code, and the rounding of the two float32 operations."""
    blocks = torch.nn.functional.pad(x.flatten(), (0, -x.numel() % 128)).view(-1, 128)
    peak = blocks.abs().amax(1, keepdim=True).expand_as(blocks).reshape(-1)[: x.numel()]
    size = x.flatten().abs()
    # int8: steps of peak / 127.  e4m3: 3 bits of mantissa, or steps of 2^-9 below 2^-6.
    half = peak / 254 if dtype == "int8" else torch.maximum(size / 16, peak / 448 / 1024)
    return (half * (1 + 2**-20) + size * 2**-22).view_as(x)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_bytes_agree_with_the_kernels(dtype: str) -> None:
    arena = arena_of(dtype)
    codec, shape = StateCodec(arena), arena.geometry.checkpoint
    assert shape is not None
    check_state_layout("whole", codec.forms.whole)
    check_state_layout("coded", codec.forms.coded)
    parts = codec.forms.coded.parts
    packed = packed_layout(tuple(p.format for p in parts), tuple(p.elements for p in parts))
    assert codec.forms.coded == packed
    assert codec.forms.coded.end <= shape.nbytes < codec.forms.coded.end + 16
    assert shape.scale_bytes == parts[-1].scale_bytes
    assert codec.forms.whole.end <= arena.geometry.state_bytes
    assert arena.geometry.checkpoints_per_frame == arena.geometry.frame_bytes // shape.nbytes == 3


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@given(seed=st.integers(0, 99), spread=st.sampled_from([0.0, 3.0, 20.0]))
def test_there_and_back(dtype: str, seed: int, spread: float) -> None:
    arena = arena_of(dtype)
    codec, draw = StateCodec(arena), torch.Generator().manual_seed(seed)
    conv = [arena.conv_view(part) for part in range(2)]
    temporal = arena.temporal_view()
    arena.raw.random_(0, 255, generator=draw)
    for part in (*conv, temporal):
        wide = torch.randn(part.shape, generator=draw)
        scale = torch.exp(spread * torch.randn(part.shape[:-1], generator=draw))
        part.copy_(wide * scale[..., None])
    places = arena.geometry.checkpoints_per_frame
    wanted = [part[:, 1].clone() for part in (*conv, temporal)]
    others = arena.frames[[2, 4]].clone()
    codec.copy(Batch(Kind.COMPRESS, [1, 2], [3 * places + 1, 3 * places]))
    codec.copy(Batch(Kind.MOVE, [3 * places + 1], [5 * places + 2]))
    arena.frames[3].fill_(0xFF)
    codec.copy(Batch(Kind.EXPAND, [5 * places + 2], [1]))
    found = [part[:, 1] for part in (*conv, temporal)]
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert ((found[2] - wanted[2]).abs() <= bound(wanted[2], dtype)).all()
    assert not torch.equal(found[2], wanted[2])
    assert torch.equal(arena.frames[[2, 4]], others)


def test_what_fits_at_the_size_of_real_models() -> None:
    """Conv parts in bfloat16, temporal in float32: three a frame, to the byte."""
    kv = KvShape(layers=12, heads=2, head_dim=256, v_head_dim=256, itemsize=2)
    next80b = StateShape(36, ((8192, 3),), 2, (32, 128, 128), 4)
    geometry = Geometry(kv, next80b, 16).with_checkpoints("int8")
    elements = 36 * 32 * 128 * 128
    assert geometry.kept_bytes == 36 * 8192 * 3 * 2 + elements + elements // 128 * 4
    assert geometry.checkpoints_per_frame == 3


def refused(shape: StateShape | None, dtype: str = "int8") -> str:
    with pytest.raises(ConfigError) as error:
        Geometry(KV, shape, 4).with_checkpoints(dtype)
    return str(error.value)


def test_refusals_name_the_flag_the_value_and_the_remedy() -> None:
    assert "--cachepawl-checkpoint-dtype fp4: not one of auto, int8, fp8" in refused(SHAPE, "fp4")
    assert "no SSM states; drop the flag" in refused(None)
    conv_only = StateShape(2, ((8, 3),), 2, (0,), 4)
    assert "no recurrent part to compress" in refused(conv_only, "fp8")
    odd = StateShape(1, (), 2, (5, 3), 4)
    assert "has 15 elements, not a multiple of 16" in refused(odd)
    half = StateShape(2, ((8, 4),), 2, (4, 16, 16), 2)
    assert "(2 bytes an element); drop the flag, or keep states in float32" in refused(half)


def test_other_element_types_are_refused() -> None:
    geometry = Geometry(KV, SHAPE, 4, 3).with_checkpoints("int8")
    dtypes = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.int32)
    with pytest.raises(ConfigError, match=r"states of torch\.int32 cannot be compressed"):
        StateCodec(Arena(geometry, geometry.total_bytes, "cpu", dtypes))
    with pytest.raises(ConfigError, match="not compressed"):
        StateCodec(arena_of(None))


def test_auto_is_what_it_was() -> None:
    plain = Geometry(KV, SHAPE, 4, 6)
    assert plain.with_checkpoints("auto") == plain.with_checkpoints(None) == plain
    assert (plain.checkpoints_per_frame, plain.kept_bytes) == (0, plain.state_bytes)
