"""The bound against every schedule of tiny traces, and where it is exact."""

from __future__ import annotations

from array import array
from itertools import combinations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cachepawl.errors import ArgumentError
from cachepawl.offline.bounds import prices
from cachepawl.offline.bounds.runs import Runs, runs_of
from cachepawl.offline.bounds.upper import Bytes, demand, reuses, upper_bound
from cachepawl.offline.traces import TraceRequest
from cachepawl.types import Key

PAGE = 2
Item = tuple[str, tuple[int, ...]]
"""KV of a page or a state at its end, named by the prompt up to there."""


def trace(prompts: list[list[int]]) -> Runs:
    requests = [TraceRequest(0.0, Key(array("q", p).tobytes()), 1, "") for p in prompts]
    return runs_of(requests, 1, PAGE)


def best_of_all(prompts: list[list[int]], cost: Bytes, budget: int) -> int:
    """Tokens that the best of all schedules saves: whatever fits is kept, state by state."""
    sizes = {"kv": cost.kv * PAGE, "state": cost.state}
    reached: dict[frozenset[Item], int] = {frozenset(): 0}
    for prompt in prompts:
        ends = [tuple(prompt[:end]) for end in range(PAGE, len(prompt) + 1, PAGE)]
        own = {(kind, end) for end in ends for kind in sizes}
        later: dict[frozenset[Item], int] = {}
        for held, saved in reached.items():
            saved += hit(held, ends, len(prompt) - 1, cost)
            for kept in fitting(held | own, sizes, budget):
                later[kept] = max(later.get(kept, 0), saved)
        reached = later
    return max(reached.values())


def hit(held: frozenset[Item], ends: list[tuple[int, ...]], limit: int, cost: Bytes) -> int:
    deepest = 0
    for end in ends:
        if ("kv", end) not in held or len(end) > limit:
            break
        if ("state", end) in held or not cost.state:
            deepest = len(end)
    return deepest


def fitting(items: frozenset[Item], sizes: dict[str, int], budget: int) -> list[frozenset[Item]]:
    """The sets of items that fit and to which nothing can be added."""
    kv = sorted(item for item in items if item[0] == "kv")
    states = sorted(item for item in items if item[0] == "state")
    found = []
    for count in range(min(len(kv), budget // sizes["kv"]) + 1):
        rest = budget - count * sizes["kv"]
        room = min(len(states), rest // sizes["state"]) if sizes["state"] else len(states)
        if count < len(kv) and room == len(states) and rest >= sizes["kv"]:
            continue
        for some in combinations(kv, count):
            found += [frozenset(some + more) for more in combinations(states, room)]
    return found


PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=5)
COSTS = st.builds(Bytes, kv=st.integers(1, 3), state=st.sampled_from([0, 1, 3, 6]))


@settings(max_examples=150)
@given(prompts=PROMPTS, cost=COSTS, budget=st.integers(1, 30))
@example([[0, 0, 0, 0, 0]] * 3, Bytes(1, 6), 10)
@example([[0, 0, 0], [1, 1, 1]] * 2, Bytes(1, 1), 3)
def test_no_schedule_saves_more(prompts, cost: Bytes, budget: int) -> None:
    distinct = {tuple(p[:end]) for p in prompts for end in range(PAGE, len(p) + 1, PAGE)}
    assume(len(distinct) <= 6)
    assert upper_bound(trace(prompts), cost, budget) >= best_of_all(prompts, cost, budget)


@settings(max_examples=150)
@given(
    prompts=PROMPTS,
    cost=COSTS,
    budget=st.integers(1, 30),
    rates=st.lists(st.floats(0, 9), min_size=5, max_size=5),
)
def test_any_prices_bound(prompts, cost: Bytes, budget: int, rates: list[float]) -> None:
    """The search finds low bounds; that they are bounds depends on no price it tries."""
    distinct = {tuple(p[:end]) for p in prompts for end in range(PAGE, len(p) + 1, PAGE)}
    assume(len(distinct) <= 6)
    paid = [sum(rates[:t]) for t in range(len(prompts))]
    surplus, changes = demand(reuses(trace(prompts), cost), cost.state, paid)
    assert sum(changes) == 0, "all that is rented is given back"
    assert surplus + budget * paid[-1] >= best_of_all(prompts, cost, budget) - 1e-9


def test_room_for_everything_saves_all_that_repeats() -> None:
    prompts = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9, 9], [1, 2, 3, 4, 5, 6], [1, 2]]
    # The last page of a prompt is computed: of six tokens four can be saved, of two none.
    assert upper_bound(trace(prompts), Bytes(1, 10), 10**6) == 4 + 4


def test_no_room_saves_nothing() -> None:
    assert upper_bound(trace([[1] * 9] * 20), Bytes(100, 1000), 1) == 0


def test_one_prompt_at_a_time_is_exact() -> None:
    """Two prompts in turns, room for one: half of the visits are hits, and no bound is lower."""
    prompts = [[1] * 9, [2] * 9] * 200
    bound = upper_bound(trace(prompts), Bytes(1, 8), 16)
    saved = 8 * len(prompts) // 2
    assert saved - 8 <= bound <= saved * 1.02


def test_time_in_spans_is_better_than_one_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy hour and a quiet one: one price for both is too high or too low."""
    busy = [[i] * 9 for i in range(40)] * 3
    quiet = [[1000 + i // 2] * 9 for i in range(120)]
    fine = upper_bound(trace(busy + quiet), Bytes(1, 8), 160)
    monkeypatch.setattr(prices, "STAGES", prices.STAGES[:1])
    assert fine < 0.97 * upper_bound(trace(busy + quiet), Bytes(1, 8), 160)


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_is_above_nothing(budget: int) -> None:
    with pytest.raises(ArgumentError, match="give at least 1"):
        upper_bound(trace([[1]]), Bytes(1, 1), budget)


def test_a_trace_that_repeats_nothing() -> None:
    assert upper_bound(trace([[1, 1, 1], [2, 2, 2]]), Bytes(1, 1), 100) == 0
    assert upper_bound(trace([]), Bytes(1, 1), 100) == 0
