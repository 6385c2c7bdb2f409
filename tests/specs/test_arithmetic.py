"""Bytes and FLOPs against brute force: packing, sharding, additivity, causal pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.errors import ConfigError
from cachepawl.specs import Dtypes, ElementType, LayerSpec, ModelSpec, element_type
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.dtypes import BF16, FP8_E4M3, FP16, FP32, INT8, MXFP4, NVFP4, TYPES
from cachepawl.specs.gdn import GatedDelta
from cachepawl.specs.kda import KimiDelta
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import Mixer, State
from cachepawl.specs.parallel import groups_of_rank, kv_heads_of_rank, shard
from cachepawl.specs.parts import StateLayer
from cachepawl.specs.rglru import RgLru
from cachepawl.specs.shortconv import ShortConv
from cachepawl.specs.window import WindowAttention, causal_pairs

SETTINGS = settings(derandomize=True, deadline=None, max_examples=100, database=None)
N = st.integers(1, 9)
EIGHTS = st.integers(1, 4).map(lambda n: 8 * n)
KERNEL = st.integers(1, 5)

STATES: st.SearchStrategy[State] = st.one_of(
    st.builds(Mamba1, inner=EIGHTS, state=N, kernel=KERNEL),
    st.builds(Mamba2, heads=EIGHTS, head_dim=N, groups=EIGHTS, state=N, kernel=KERNEL),
    st.builds(
        GatedDelta, key_heads=EIGHTS, value_heads=EIGHTS, key_dim=N, value_dim=N, kernel=KERNEL
    ),
    st.builds(KimiDelta, heads=EIGHTS, head_dim=N, kernel=KERNEL),
    st.builds(lambda heads, block, kernel: RgLru(heads * block, heads, kernel), EIGHTS, N, KERNEL),
    st.builds(ShortConv, width=EIGHTS, kernel=KERNEL),
)
ATTENTION = st.builds(
    lambda kv, group, k, v: Attention(kv * group, kv, k, v), EIGHTS, st.integers(1, 3), N, N
)
LATENT = st.builds(LatentAttention, query_heads=N, latent=N, rope=N, qk_head_dim=N, v_head_dim=N)
WINDOWS = st.builds(WindowAttention, ATTENTION, st.just(5))
MIXERS: st.SearchStrategy[Mixer] = STATES | ATTENTION | LATENT | WINDOWS
LAYERS = st.lists(
    st.builds(LayerSpec, st.lists(MIXERS, max_size=2).map(tuple), st.integers(0, 99)), max_size=5
).map(tuple)
DTYPES = st.builds(Dtypes, *[st.sampled_from(TYPES)] * 3)


def packed(bits: list[int], block: int, scale_bytes: int) -> int:
    """Bytes of elements written one bit after the other, a scale after every block begun."""
    total = used = 0
    for position, width in enumerate(bits):
        if block and position % block == 0:
            total += block * width // 8 + scale_bytes  # a block is there whole
        used += width
    return total if block else -(-used // 8)


@SETTINGS
@given(st.sampled_from(TYPES), st.integers(0, 300))
def test_bytes_of_a_row_are_its_bits_and_scales(dtype: ElementType, elements: int) -> None:
    assert dtype in TYPES
    bits = [dtype.bits] * elements
    assert dtype.bytes_of(elements) == packed(bits, dtype.block, dtype.scale_bytes)


@pytest.mark.parametrize(
    ("dtype", "elements", "expected"),
    [
        (NVFP4, 0, 0), (NVFP4, 1, 9), (NVFP4, 16, 9), (NVFP4, 17, 18), (NVFP4, 128, 72),
        (MXFP4, 32, 17), (MXFP4, 33, 34), (MXFP4, 128, 68), (INT8, 3, 3), (FP8_E4M3, 128, 128),
        (BF16, 128, 256), (FP16, 1, 2), (FP32, 5, 20),
    ],
)  # fmt: skip
def test_bytes_by_hand(dtype: ElementType, elements: int, expected: int) -> None:
    assert dtype.bytes_of(elements) == expected


def test_a_packed_row_without_scales_ends_on_a_byte() -> None:
    assert [ElementType("int4", 4).bytes_of(n) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]


def test_packed_types_have_no_itemsize() -> None:
    assert [t.itemsize for t in (FP32, FP16, BF16, INT8, FP8_E4M3)] == [4, 2, 2, 1, 1]
    with pytest.raises(ConfigError, match=r"nvfp4 packs 4 bits in blocks of 16 .* one of: fp32"):
        assert NVFP4.itemsize


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("torch.bfloat16", BF16), ("bf16", BF16), ("float8_e4m3fn", FP8_E4M3), ("fp4_e2m1", NVFP4)],
)
def test_names_of_types(name: str, dtype: ElementType) -> None:
    assert element_type(name) is dtype
    with pytest.raises(ConfigError, match=r"unknown element type 'fp3'; one of: bf16, "):
        element_type("fp3")


@SETTINGS
@given(LAYERS, LAYERS, DTYPES, st.sampled_from([1, 2, 4, 8]), st.integers(0, 12))
def test_bytes_of_layers_add_up(
    first: tuple[LayerSpec, ...], second: tuple[LayerSpec, ...], dtypes: Dtypes, tp: int, n: int
) -> None:
    one, two, both = (
        ModelSpec("m", 8, layers, dtypes) for layers in (first, second, first + second)
    )
    assert both.kv_bytes_per_token(tp) == one.kv_bytes_per_token(tp) + two.kv_bytes_per_token(tp)
    assert both.conv_bytes(tp) == one.conv_bytes(tp) + two.conv_bytes(tp)
    assert both.temporal_bytes(tp) == one.temporal_bytes(tp) + two.temporal_bytes(tp)
    assert both.state_bytes(tp) == both.conv_bytes(tp) + both.temporal_bytes(tp)
    windows = one.window_bytes_per_token(tp) + two.window_bytes_per_token(tp)
    assert both.window_bytes_per_token(tp) == windows
    kept = min(n, 5)
    held = n * both.kv_bytes_per_token(tp) + kept * windows + both.state_bytes(tp)
    assert both.sequence_bytes(n, tp) == held


@SETTINGS
@given(STATES, st.sampled_from([2, 4, 8]))
def test_shards_of_a_state_make_the_whole(state: StateLayer, tp: int) -> None:
    whole, share = state.parts(1), state.parts(tp)
    assert tp * share.conv_elements == whole.conv_elements
    assert tp * share.temporal_elements == whole.temporal_elements
    assert [len(shape) for shape in share.conv] == [len(shape) for shape in whole.conv]


@SETTINGS
@given(ATTENTION, st.sampled_from([2, 4, 8]), st.sampled_from(TYPES))
def test_shards_of_kv_make_the_whole(attention: Attention, tp: int, dtype: ElementType) -> None:
    assert tp * attention.entry_bytes(dtype, tp) == attention.entry_bytes(dtype)
    # A latent is copied, not shared out; and a borrowed KV costs nothing.
    latent = LatentAttention(4, attention.head_dim, 3, 8, 8)
    assert latent.entry_bytes(dtype, tp) == latent.entry_bytes(dtype)
    assert replace(attention, owns_kv=False).entry_bytes(dtype, tp) == 0


def test_one_group_is_copied_to_every_rank() -> None:
    one = Mamba2(heads=8, head_dim=4, groups=1, state=16, kernel=4)
    assert one.parts(1).conv == ((8 * 4 + 2 * 16, 3),)
    assert one.parts(4).conv == ((2 * 4 + 2 * 16, 3),)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shard("KDA heads", 6, 4), r"^6 KDA heads do not divide by 4 .*--tp-size that"),
        (lambda: kv_heads_of_rank(6, 4), r"^6 KV heads do not divide by 4"),
        (lambda: kv_heads_of_rank(3, 4), r"^3 KV heads cannot be copied evenly to 4 .*of 3$"),
        (lambda: groups_of_rank(2, 4), r"^2 SSM groups do not divide by 4"),
        (lambda: groups_of_rank(1, 0), r"^--tp-size 0 is not positive; use 1 or more$"),
        (lambda: LatentAttention(1, 1, 1, 1, 1).entry_bytes(BF16, -1), r"^--tp-size -1 "),
    ],
)
def test_what_ranks_cannot_share(call: Callable[[], int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_two_window_sizes_are_refused() -> None:
    attend = Attention(1, 1, 8, 8)
    layers = tuple(LayerSpec((WindowAttention(attend, n),), 0) for n in (8, 4))
    with pytest.raises(ConfigError, match=r"m: windows of \[4, 8\] tokens; one window size"):
        ModelSpec("m", 8, layers)


@SETTINGS
@given(st.integers(0, 40), st.integers(0, 40), st.none() | st.integers(1, 30))
def test_causal_pairs_are_counted_one_by_one(tokens: int, prefix: int, window: int | None) -> None:
    seen = [prefix + i for i in range(1, tokens + 1)]
    if window is not None:
        seen = [min(n, window) for n in seen]
    assert causal_pairs(tokens, prefix, window) == sum(seen)


@SETTINGS
@given(LAYERS, st.integers(0, 30), st.integers(0, 30))
def test_a_prefill_in_two_parts_costs_the_same(
    layers: tuple[LayerSpec, ...], first: int, second: int
) -> None:
    spec = ModelSpec("m", 8, layers)
    parts = spec.prefill_flops(first) + spec.prefill_flops(second, prefix=first)
    assert spec.prefill_flops(first + second) == parts


def test_flops_by_hand() -> None:
    attend = Attention(query_heads=4, kv_heads=2, head_dim=8, v_head_dim=8)
    scan = Mamba2(heads=2, head_dim=4, groups=1, state=16, kernel=4)
    spec = ModelSpec("m", 8, (LayerSpec((attend,), 100), LayerSpec((scan,), 11)))
    # 3 tokens after 10: 111 weights; 11 + 12 + 13 pairs of 4 heads, q.k and p.v of 8;
    # a convolution over 8 + 2*16 channels of 4 taps, 5 FLOPs for each of 2*4*16 elements.
    scores = (11 + 12 + 13) * 4 * (8 + 8) * 2
    assert spec.prefill_flops(3, prefix=10) == 3 * (2 * 111 + 2 * 40 * 4 + 5 * 128) + scores
