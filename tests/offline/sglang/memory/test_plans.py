"""The arithmetic of the three layouts: never above the budget, never a unit short of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cachepawl.errors import CachepawlError, ConfigError, InputError
from cachepawl.offline.sglang.flags import ServerFlags, parse_flags
from cachepawl.offline.sglang.memory import (
    DoesNotFit,
    arena_plan,
    host_plan,
    settle,
    static_plan,
    unified_plan,
)
from cachepawl.offline.sglang.memory.budget import default_fraction, estimated_budget, rest_budget
from cachepawl.offline.sglang.memory.stages import stages
from cachepawl.specs import ModelSpec, spec_of
from cachepawl.specs.presets import PRESETS

GIB = 1 << 30
HYBRIDS = {
    name: preset.spec()
    for name, preset in PRESETS.items()
    if (s := preset.spec()).states and s.full_attention and not s.windows
    if "Kimi" not in name and "LFM2" not in name and "Jamba" not in name
}
QWEN = PRESETS["Qwen/Qwen3-Next-80B-A3B-Instruct"].spec()
DENSE = spec_of({
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
})  # fmt: skip
specs = st.sampled_from(list(HYBRIDS.values()))
pages = st.sampled_from([1, 16, 64])
rests = st.floats(10**9, 2 * 10**11, allow_nan=False)
SWITCHES = [
    "--disable-radix-cache",
    "--disable-overlap-schedule",
    "--page-size=16",
    "--tp-size=2",
    "--pp-size=2",
    "--attn-dp-size=2",
    "--max-total-tokens=100",
    "--max-mamba-cache-size=9",
    "--max-running-requests=1",
    "--speculative-algorithm=NGRAM",
    "--speculative-num-draft-tokens=8",
    "--mamba-radix-cache-strategy=extra_buffer_lazy",
]
quick = settings(deadline=None, max_examples=40)


def flags_of(text: str = "", **fields: Any) -> ServerFlags:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
    return parse_flags([*text.split(), *words])


def fitting(plan: Any, spec: ModelSpec, flags: ServerFlags, rest: float) -> Any:
    """The plan, where it is one."""
    try:
        return plan(spec, flags, rest_budget(rest))
    except DoesNotFit:
        assume(False)


@quick
@given(specs, pages, rests, st.floats(0.01, 20))
def test_the_split_uses_the_budget_and_no_more(
    spec: ModelSpec, page: int, rest: float, ratio: float
) -> None:
    flags = flags_of(page_size=page, mamba_full_memory_ratio=ratio)
    plan = fitting(static_plan, spec, flags, rest)
    assert plan.used_bytes <= rest
    assert (plan.kv_tokens + page) * plan.kv_token_bytes > plan.kv_budget
    share = rest * ratio / (1 + ratio)
    assert plan.states.bytes <= share * (1 + 1e-12)
    assert plan.states.bytes + plan.states.slot_bytes > share * (1 - 1e-12)
    assert plan.max_running_requests * plan.settled.slots_per_request <= plan.state_slots
    assert plan.reserved_states <= plan.state_slots
    assert plan.kv_tokens % page == 0


@quick
@given(specs, pages, rests, st.floats(0, 10**10))
def test_more_memory_holds_no_less(spec: ModelSpec, page: int, rest: float, more: float) -> None:
    flags = flags_of(page_size=page)
    small, large = (fitting(static_plan, spec, flags, n) for n in (rest, rest + more))
    assert small.state_slots <= large.state_slots
    assert small.used_bytes <= large.used_bytes + large.states.slot_bytes
    fixed = flags_of(page_size=page, max_mamba_cache_size=small.state_slots)
    assert (
        fitting(static_plan, spec, fixed, rest).kv_tokens
        <= fitting(static_plan, spec, fixed, rest + more).kv_tokens
    )
    one, two = (fitting(arena_plan, spec, flags, n) for n in (rest, rest + more))
    assert one.most_tokens <= two.most_tokens
    assert one.most_states <= two.most_states
    assert one.max_running_requests <= two.max_running_requests


@quick
@given(specs, pages, rests)
def test_the_arena_uses_the_budget_and_no_more(spec: ModelSpec, page: int, rest: float) -> None:
    plan = fitting(arena_plan, spec, flags_of(page_size=page), rest)
    assert plan.frame_bytes <= rest < plan.frame_bytes + plan.geometry.frame_bytes
    assert plan.capacity.requests_at(page) >= plan.max_running_requests or (
        plan.max_running_requests == 1
    )


@quick
@given(specs, pages, rests, st.floats(0.05, 5))
def test_unified_memory_stays_in_the_budget(
    spec: ModelSpec, page: int, rest: float, ratio: float
) -> None:
    flags = flags_of(page_size=page, mamba_full_memory_ratio=ratio)
    plan = fitting(unified_plan, spec, flags, rest)
    assert plan.total_bytes <= rest
    assert plan.sink_bytes + plan.most_tokens * plan.kv_entry_bytes <= plan.total_bytes
    assert (plan.most_states + 1) * plan.state_bytes <= plan.total_bytes
    assert plan.static.kv_tokens <= plan.most_tokens + 2 * page


@quick
@given(specs, st.integers(1, 8))
def test_stages_are_a_partition(spec: ModelSpec, pp: int) -> None:
    parts = stages(spec, pp)
    assert sum((part.layers for part in parts), ()) == spec.layers
    sizes = [len(part.layers) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes)


def test_stages_are_sglangs() -> None:
    utils = pytest.importorskip("sglang.srt.distributed.utils")
    for pp in range(1, 9):
        theirs = [utils.get_pp_indices(len(QWEN.layers), rank, pp) for rank in range(pp)]
        assert [len(part.layers) for part in stages(QWEN, pp)] == [b - a for a, b in theirs]


def test_stages_share_the_smallest() -> None:
    plan = static_plan(QWEN, flags_of(pp_size=5), rest_budget(40 * GIB))
    # 48 layers over 5 stages: at most 8 of the 36 state layers are on one of them.
    assert plan.states.slot_bytes == int(QWEN.state_bytes() * (8 / 36))
    assert plan.kv_tokens == plan.kv_budget // plan.kv_token_bytes
    assert plan.settled.tracking_slots == 1


def test_attention_alone_has_no_states() -> None:
    plan = static_plan(DENSE, flags_of(), rest_budget(40 * GIB))
    assert (plan.state_slots, plan.states.bytes, plan.reserved_states) == (0, 0, 0)
    assert plan.kv_tokens == 40 * GIB // DENSE.kv_bytes_per_token()
    assert plan.requests.by == "estimate"


def test_what_binds_the_requests() -> None:
    budget = rest_budget(40 * GIB)
    assert static_plan(QWEN, flags_of(), budget).requests.by == "states"
    assert static_plan(QWEN, flags_of(max_running_requests=3), budget).requests == (3, "flag", 3)
    flags = flags_of("--disable-radix-cache", max_total_tokens=20, max_running_requests=64)
    assert static_plan(QWEN, flags, budget).requests == (10, "tokens", 10)


def test_the_hosts_share() -> None:
    flags = flags_of("--enable-hicache", page_size=64)
    budget = rest_budget(40 * GIB)
    static = host_plan(static_plan(QWEN, flags, budget), flags)
    unified = host_plan(unified_plan(QWEN, flags, budget), flags)
    assert static is not None
    assert unified is not None
    assert static.total_bytes == pytest.approx(2 * 40 * GIB, rel=0.01)
    assert unified.total_bytes == pytest.approx(2 * 40 * GIB * (1 + 1 / 1.9), rel=0.01)
    assert unified.may_shrink
    sized = flags_of("--enable-hicache", page_size=64, hicache_size=100)
    fixed = host_plan(static_plan(QWEN, sized, budget), sized)
    assert fixed is not None
    assert not fixed.may_shrink
    assert fixed.total_bytes == pytest.approx(100e9, rel=0.01)
    assert host_plan(static_plan(QWEN, flags_of(), budget), flags_of()) is None


def test_estimates_before_the_load() -> None:
    flags = flags_of(mem_fraction_static=0.8)
    assert estimated_budget(flags, 80 * GIB, 50 * GIB)[:2] == (80 * GIB * 0.8 - 50 * GIB, False)
    assert 0.8 < default_fraction(flags_of(), 80 * GIB) < 0.9
    assert default_fraction(flags_of(), 16 * GIB) < default_fraction(
        flags_of("--disable-cuda-graph"), 16 * GIB
    )
    with pytest.raises(DoesNotFit, match=r"leave nothing of 24\.0 GiB"):
        estimated_budget(flags, 24 * GIB, 50 * GIB)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("--page-size 0", "--page-size 0"),
        ("--tp-size 3", "to 3 tensor-parallel ranks"),
        ("--tp-size 2 --attn-dp-size 4", "--tp-size 2"),
        ("--pp-size 99", "--pp-size 99"),
        ("--mamba-full-memory-ratio 0", "--mamba-full-memory-ratio 0"),
        ("--mamba-radix-cache-strategy no_buffer", "--disable-overlap-schedule"),
        ("--page-size 16 --mamba-radix-cache-strategy no_buffer --disable-overlap-schedule",
         "--page-size 16"),
        ("--page-size 48", "--mamba-track-interval 256"),
        ("--mamba-radix-cache-strategy extra_buffer_lazy --disable-overlap-schedule", "lazy"),
        ("--linear-attn-backend cutedsl --mamba-radix-cache-strategy extra_buffer", "no_buffer"),
        ("--speculative-algorithm EAGLE", "--speculative-num-draft-tokens"),
        ("--speculative-algorithm DFLASH", "--speculative-algorithm DFLASH"),
        ("--enable-int8-mamba-checkpoint", "--enable-int8-mamba-checkpoint"),
        ("--dcp-size 2", "--dcp-size 2"),
        ("--kv-cache-dtype nvfp4", "--kv-cache-dtype nvfp4"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises((InputError, ConfigError), match=says):
        static_plan(QWEN, flags_of(text), rest_budget(40 * GIB))


@pytest.mark.parametrize(
    ("plan", "spec", "text"),
    [
        (unified_plan, DENSE, ""),
        (unified_plan, QWEN, "--pp-size 2"),
        (arena_plan, QWEN, "--pp-size 2"),
        (arena_plan, QWEN, "--disable-radix-cache"),
        (static_plan, PRESETS["nvidia/Hymba-1.5B-Instruct"].spec(), ""),
        (static_plan, DENSE, "--mamba-radix-cache-strategy extra_buffer"),
    ],
)
def test_what_a_layout_does_not_take(plan: Any, spec: ModelSpec, text: str) -> None:
    with pytest.raises(InputError):
        plan(spec, flags_of(text), rest_budget(40 * GIB))


@pytest.mark.parametrize("plan", [static_plan, unified_plan, arena_plan])
@pytest.mark.parametrize("rest", [1, 10**6, 2 * 10**8])
def test_too_little(plan: Any, rest: int) -> None:
    with pytest.raises(DoesNotFit):
        plan(QWEN, flags_of(page_size=16), rest_budget(rest))


def test_no_memory_at_all() -> None:
    with pytest.raises(DoesNotFit):
        rest_budget(0)


@settings(deadline=None, max_examples=80)
@given(
    specs,
    rests,
    st.lists(st.sampled_from(SWITCHES)),
)
def test_any_flags_make_a_plan_or_one_line(spec: ModelSpec, rest: float, words: list[str]) -> None:
    flags = parse_flags(words)
    for plan in (static_plan, unified_plan, arena_plan):
        try:
            made = plan(spec, flags, rest_budget(rest))
        except CachepawlError as error:
            lines = str(error).splitlines()
            assert len(lines) == 1
        else:
            assert made.max_running_requests >= 1
            assert settle(spec, flags) == made.settled
