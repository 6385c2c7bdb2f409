"""The arena's geometry from a model spec: equal to shapes given by hand, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from cachepawl.errors import ConfigError
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import KvShape, StateShape
from cachepawl.specs import Dtypes, LayerSpec, ModelSpec, spec_of
from cachepawl.specs.attention import Attention
from cachepawl.specs.dtypes import FP8_E4M3, NVFP4
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.presets import PRESETS, preset

HELD = [
    name
    for name, p in PRESETS.items()
    if p.spec().kv_bytes_per_token() and not p.spec().windows and "Kimi" not in name
]
QWEN = preset("Qwen3-Next-80B-A3B-Instruct").spec()
ATTEND = Attention(query_heads=8, kv_heads=4, head_dim=32, v_head_dim=32)


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("name", HELD)
def test_the_arenas_bytes_are_the_specs_and_padding(name: str, tp: int) -> None:
    spec = preset(name).spec()
    geometry = geometry_from_spec(spec, 16, tp)
    assert 0 <= geometry.entry_bytes - spec.kv_bytes_per_token(tp) < 32
    assert 0 <= geometry.state_bytes - spec.state_bytes(tp) < 64
    assert geometry.page_tokens == 16


def test_qwen3_next_on_two_ranks() -> None:
    geometry = geometry_from_spec(QWEN, 64, tp=2)
    assert geometry.kv == KvShape(12, 1, 256, 256, itemsize=2)
    assert geometry.state == StateShape(36, ((4096, 3),), 2, (16, 128, 128), 4)


def test_element_types_reach_the_arena() -> None:
    geometry = geometry_from_spec(QWEN.with_dtypes(Dtypes(kv=FP8_E4M3)), 16)
    assert geometry.kv.itemsize == 1
    assert geometry.state is not None
    assert (geometry.state.conv_itemsize, geometry.state.temporal_itemsize) == (2, 4)


def test_attention_alone_has_no_state() -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
    }  # fmt: skip
    geometry = geometry_from_spec(spec_of(config), 16)
    assert geometry.state is None
    assert geometry.kv == KvShape(3, 2, 16, 16, itemsize=2)


def mix(*mixers: Any) -> ModelSpec:
    return ModelSpec("m", 64, tuple(LayerSpec((mixer,), 0) for mixer in mixers))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (preset("recurrentgemma-2b").spec(), r"8 layers attend over a window of 2048 tokens"),
        (preset("Kimi-Linear-48B-A3B-Instruct").spec(), r"7 layers keep a latent .*\(MLA\)"),
        (preset("mamba2-130m").spec(), r"0 different shapes .* the arena holds exactly one"),
        (mix(ATTEND, Attention(8, 2, 32, 32)), r"2 different shapes .*\[\(2, 32, 32\), \(4, 32"),
        (
            mix(ATTEND, Mamba2(4, 8, 1, 8, 4), Mamba2(4, 8, 1, 16, 4)),
            r"m: state layers of 2 different shapes .* the arena holds one shape a model",
        ),
        (QWEN.with_dtypes(Dtypes(kv=NVFP4)), r"nvfp4 packs 4 bits .* use one of: fp32"),
    ],
)
def test_what_the_arena_does_not_hold(spec: ModelSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        geometry_from_spec(spec, 16)


def test_numbers_that_are_no_sizes() -> None:
    with pytest.raises(ConfigError, match="--page-size 0 is not positive"):
        geometry_from_spec(QWEN, 0)
    with pytest.raises(ConfigError, match="--tp-size 0 is not positive"):
        geometry_from_spec(QWEN, 16, tp=0)
    with pytest.raises(ConfigError, match="3 tensor-parallel ranks"):
        geometry_from_spec(QWEN, 16, tp=3)


def test_borrowed_kv_takes_no_room() -> None:
    borrower = Attention(8, 2, 32, 32, owns_kv=False)
    geometry = geometry_from_spec(mix(ATTEND, borrower, ATTEND), 16)
    assert geometry.kv.layers == 2
