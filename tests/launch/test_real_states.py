"""Compressed states of real models: what rounding costs each tensor, against what it may cost.

The states are those of the tiny models after 300 tokens, as transformers computes them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.state_codec import StateCodec
from cachepawl_launch.cpu.tiny import make_tiny

FAMILIES = ("nemotron_h", "qwen3_5", "falcon_h1")
BLOCK = 128
TOKENS = 300


@cache
def states_of(family: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Conv and recurrent parts, `(layers, ...)` float32."""
    from transformers import AutoModelForCausalLM

    folder = make_tiny(family, Path(__file__).parents[2] / "build" / "models")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(5, 260, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        layers = model(ids, use_cache=True).past_key_values.layers
    parts: dict[str, list[torch.Tensor]] = {"conv_states": [], "recurrent_states": []}
    for layer in layers:
        for name, found in parts.items():
            found += [t[0] for t in getattr(layer, name, {}).values() if torch.is_tensor(t)]
    conv, recurrent = (torch.stack(found) for found in parts.values())
    assert len(conv) == len(recurrent) > 1
    return conv, recurrent


class Errors(NamedTuple):
    """Of one layer's recurrent part."""

    largest: float
    """The largest error, as a share of the largest magnitude."""
    mean: float
    """The mean error, as a share of the mean magnitude."""
    of_bound: float
    """The largest share of the bound that an element uses up."""


def round_trip(family: str, dtype: str) -> list[Errors]:
    """Compress and expand the model's state in an arena of its geometry; conv must not change."""
    conv, recurrent = states_of(family)
    shape = StateShape(len(conv), (tuple(conv.shape[1:]),), 4, tuple(recurrent.shape[1:]), 4)
    kv = KvShape(layers=2, heads=2, head_dim=16, v_head_dim=16, itemsize=4)
    geometry = Geometry(kv, shape, 16, 4).with_checkpoints(dtype)
    assert geometry.checkpoints_per_frame >= 2
    dtypes = ArenaDtypes(torch.float32, torch.float32, torch.float32)
    arena = Arena(geometry, geometry.total_bytes, "cpu", dtypes)
    arena.conv_view(0)[:, 1], arena.temporal_view()[:, 1] = conv, recurrent
    codec = StateCodec(arena)
    place = 3 * geometry.checkpoints_per_frame + 1
    codec.copy(Batch(Kind.COMPRESS, [1], [place]))
    codec.copy(Batch(Kind.EXPAND, [place], [2]))
    assert torch.equal(arena.conv_view(0)[:, 2], conv)
    found = arena.temporal_view()[:, 2]
    return [errors(*pair, dtype) for pair in zip(recurrent, found, strict=True)]


def errors(wanted: torch.Tensor, found: torch.Tensor, dtype: str) -> Errors:
    size, off = wanted.abs(), (found - wanted).abs()
    peak = size.reshape(-1, BLOCK).amax(1).repeat_interleave(BLOCK).view_as(size)
    # Half a step: of peak / 127; of e4m3, 2^-4 of the number, or half of 2^-9 of its scale.
    half = peak / 254 if dtype == "int8" else torch.maximum(size / 16, peak / 448 / 1024)
    limit = half * (1 + 2**-20) + size * 2**-22
    assert (off <= limit).all()
    used = (off / limit).nan_to_num().max()
    return Errors(float(off.max() / size.max()), float(off.mean() / size.mean()), float(used))


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_number_is_off_by_more_than_half_a_step(family: str, dtype: str) -> None:
    found = round_trip(family, dtype)
    # int8 spreads its error evenly: at most 1/254 of the peak.  fp8 is relative: 1/16.
    assert all(0 < layer.largest <= (1 / 254 if dtype == "int8" else 1 / 16) for layer in found)
    assert max(layer.of_bound for layer in found) > 0.5  # the bound is no wish
    print(family, dtype, *(f"max {e.largest:.2e} mean {e.mean:.2e}" for e in found), sep="  ")
