"""What fits is what a count one by one finds, and one more never fits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cachepawl.errors import InputError
from cachepawl.offline.plan.fits import LIMIT, fit
from cachepawl.offline.plan.gpus import GPUS, find_gpu
from cachepawl.offline.plan.ratios import GRID, best_of, static_at, sweep
from cachepawl.offline.plan.stores import ArenaStore, StaticStore, Store, UnifiedStore
from cachepawl.offline.plan.workload import Need, Workload, make_workload, need
from cachepawl.offline.sglang.flags import parse_flags
from cachepawl.offline.sglang.memory import DoesNotFit, arena_plan, static_plan, unified_plan
from cachepawl.offline.sglang.memory.budget import GIB, rest_budget
from cachepawl.specs import spec_of
from cachepawl.specs.presets import preset

QWEN = preset("Qwen3-Next-80B-A3B-Instruct").spec()
FALCON = preset("Falcon-H1-1.5B-Instruct").spec()
DENSE = spec_of({
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
})  # fmt: skip
LAYOUTS = {
    "static": lambda *ask: StaticStore(static_plan(*ask)),
    "unified": lambda *ask: UnifiedStore(unified_plan(*ask)),
    "arena": lambda *ask: ArenaStore(arena_plan(*ask)),
}


@st.composite
def stores(draw: Any) -> Store:
    """A layout of a model in some memory."""
    spec = draw(st.sampled_from([QWEN, FALCON, DENSE]))
    layout = draw(st.sampled_from(["static", "arena", *(["unified"] if spec.states else [])]))
    flags = parse_flags(["--page-size", draw(st.sampled_from(["1", "16", "64"]))])
    try:
        made: Store = LAYOUTS[layout](spec, flags, rest_budget(draw(st.floats(5e8, 5e10))))
    except DoesNotFit:
        assume(False)
    return made


workloads = st.builds(
    lambda context, share, running: make_workload(context, 0, share, running),
    st.integers(1, 200_000),
    st.sampled_from([0, 0.1, 0.5, 0.99]),
    st.integers(1, 40),
)


def fits(store: Store, w: Workload, running: int, cached: int) -> bool:
    return not store.short_of(need(w, store.page_tokens, running, cached, store.states_per_request))


@settings(deadline=None, max_examples=150)
@given(stores(), workloads)
def test_one_more_never_fits(store: Store, w: Workload) -> None:
    f = fit(store, w)
    assert f.at_once <= store.request_limit
    assert f.running == min(w.running, f.at_once)
    assert f.at_once == 0 or fits(store, w, f.at_once, 0)
    if f.at_once_by == LIMIT:
        assert f.at_once == store.request_limit
    else:
        assert not fits(store, w, f.at_once + 1, 0)
    if f.running:
        assert fits(store, w, f.running, f.cached)
        assert not fits(store, w, f.running, f.cached + 1)
        assert f.cached_by in ("KV", "states", "bytes")
    held = need(w, store.page_tokens, f.running, f.cached, store.states_per_request)
    assert f.used_bytes == (store.bytes_of(held) if f.running else 0)
    assert f.used_bytes <= store.plan.budget.rest  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=40)
@given(st.floats(2e9, 5e10), st.integers(1, 200_000), st.sampled_from([1, 16, 64]))
def test_the_arena_fits_what_the_launcher_says(rest: float, context: int, page: int) -> None:
    flags = parse_flags(["--page-size", str(page)])
    plan = arena_plan(QWEN, flags, rest_budget(rest))
    said = min(plan.capacity.requests_at(context), plan.max_running_requests)
    assert fit(ArenaStore(plan), Workload(context, 0, 1)).at_once == said


@settings(deadline=None, max_examples=40)
@given(st.floats(3e9, 5e10), workloads)
def test_no_single_ratio_beats_one_budget_by_more_than_padding(rest: float, w: Workload) -> None:
    """What a frame's padding and the padding frame cost is the arena's only loss."""
    flags = parse_flags(["--page-size", "16"])
    budget = rest_budget(rest)
    plan = arena_plan(QWEN, flags, budget)
    best = best_of(sweep(QWEN, flags, budget, GRID), w)
    assert best is not None
    arena, lost = (
        fit(ArenaStore(plan), w),
        plan.geometry.padding + 3 * plan.geometry.frame_bytes / rest,
    )
    if best[1].running == arena.running:
        assert arena.held >= best[1].held * (1 - lost) - 2


def test_the_best_ratio_is_the_best_of_all() -> None:
    flags, budget, w = parse_flags([]), rest_budget(20 * GIB), Workload(8192, 0, 8)
    best = best_of(sweep(QWEN, flags, budget, GRID), w)
    assert best is not None
    for ratio in GRID:
        try:
            found = fit(StaticStore(static_at(QWEN, flags, budget, ratio)), w)
        except DoesNotFit:
            continue
        assert (found.running, found.held) <= (best[1].running, best[1].held)
    assert best[0].settled.ratio in GRID


def test_a_shared_prefix_is_there_once() -> None:
    w = Workload(100, 70, 1)
    # Four whole pages of 16 are shared; 36 tokens, three pages, are a conversation's own.
    assert need(w, 16, 2, 3, 3) == Need(4 + 5 * 3, 1 + 2 * 3 + 3, kept=1 + 3)
    assert need(w, 16, 2, 3, 0) == Need(4 + 5 * 3, 0)
    assert need(Workload(100, 0, 1), 16, 1, 0, 3) == Need(7, 3)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ((0, 0, None, 1), "--context 0"),
        ((10, 10, None, 1), "--prefix-tokens 10"),
        ((10, -1, None, 1), "--prefix-tokens -1"),
        ((10, 0, 1.0, 1), "--prefix-share 1"),
        ((10, 0, float("nan"), 1), "--prefix-share nan"),
        ((10, 0, None, 0), "--concurrency 0"),
    ],
)
def test_workloads_that_are_none(ask: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_workload(*ask)


def test_gpus_by_name() -> None:
    assert find_gpu("h100-80gb") == find_gpu("H100") == ("h100-80gb", 81559 << 20)
    assert find_gpu("L4").bytes == 23034 << 20
    for name, mib in GPUS.items():
        # Never more than the name says, and not much less.
        said = int(name.rsplit("-", 1)[1].removesuffix("gb"))
        assert 0.93 * said < mib / 1024 <= said
    for wrong in ("a100", "", "h10000", "mi300x", "l"):
        with pytest.raises(InputError, match="--gpu"):
            find_gpu(wrong)


def test_compressed_states_leave_room_for_more_conversations() -> None:
    """Kept states take a third of a frame, those of the running request whole ones."""
    w = make_workload(4096, 0, None, 1)
    found = {}
    for dtype in ("auto", "int8"):
        flags = parse_flags(["--page-size", "16", "--cachepawl-checkpoint-dtype", dtype])
        store = ArenaStore(arena_plan(QWEN, flags, rest_budget(20 * GIB)))
        found[dtype] = fit(store, w)
        g = store.plan.geometry
        frames = g.usable_frames - store.states_per_request
        per = max(1, g.checkpoints_per_frame)
        kept = found[dtype].cached
        pages = (1 + kept) * 256
        assert -(-kept // per) + -(-pages // g.pages_per_frame) <= frames
        assert -(-(kept + 1) // per) + -(-(pages + 256) // g.pages_per_frame) > frames
    assert found["auto"].at_once == found["int8"].at_once
    assert found["int8"].cached > 1.3 * found["auto"].cached
