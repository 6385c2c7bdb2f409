"""One model at one place: every layout, every workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cachepawl.errors import CachepawlError
from cachepawl.offline.models import Model, Weights
from cachepawl.offline.plan.fits import Fit, fit
from cachepawl.offline.plan.places import Place, budget_of
from cachepawl.offline.plan.ratios import GRID, best_of, static_at, sweep
from cachepawl.offline.plan.stores import ArenaStore, StaticStore, Store, UnifiedStore
from cachepawl.offline.plan.workload import Workload
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory import (
    Budget,
    DoesNotFit,
    Settled,
    StaticPlan,
    arena_plan,
    settle,
    static_plan,
    unified_plan,
)
from cachepawl.specs.model import ModelSpec

STATIC, BEST, UNIFIED, ARENA = "static split", "best ratio", "unified memory", "arena"
_ORDER = (STATIC, BEST, UNIFIED, ARENA)


class Row(NamedTuple):
    """One layout under one workload."""

    layout: str
    ratio: float | None
    """Of a static split of a model with states."""
    workload: Workload
    store: Store
    fit: Fit


class Comparison(NamedTuple):
    """All rows of one model at one place."""

    model: Model
    place: Place
    flags: ServerFlags
    settled: Settled
    budget: Budget | None
    """None when the weights leave nothing."""
    weights: Weights | None
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    """Layouts without rows, and why."""
    grid: tuple[StaticPlan, ...]
    """The static split over all ratios at which the server starts; empty without states."""
    arena: ArenaStore | None


class Ask(NamedTuple):
    """What is compared for every model and place."""

    flags: ServerFlags
    workloads: Sequence[Workload]
    ratios: Sequence[float]
    """Besides the one of the flags."""
    weights_gb: float | None


def compare(model: Model, place: Place, ask: Ask) -> Comparison:
    """Plan and count; InputError or ConfigError for what SGLang itself would refuse."""
    spec, flags = model.spec, ask.flags
    settled = settle(spec, flags)
    try:
        budget, weights = budget_of(place, model, flags, ask.weights_gb)
    except DoesNotFit as error:
        why = (("all layouts", str(error)),)
        return Comparison(model, place, flags, settled, None, None, (), why, (), None)
    rows, left_out, arena = list[Row](), list[tuple[str, str]](), None
    for layout in _layouts(spec, flags, budget, [settled.ratio, *ask.ratios]):
        try:
            store = layout.make()
        except CachepawlError as error:
            left_out.append((layout.name, str(error)))
            continue
        rows += [Row(layout.kind, layout.ratio, w, store, fit(store, w)) for w in ask.workloads]
        arena = store if isinstance(store, ArenaStore) else arena
    grid = tuple(sweep(spec, flags, budget, GRID)) if spec.states else ()
    rows += _best_rows(grid, ask.workloads)
    order = [w.context for w in ask.workloads]
    rows.sort(key=lambda row: (order.index(row.workload.context), _ORDER.index(row.layout)))
    return Comparison(
        model, place, flags, settled, budget, weights, tuple(rows), tuple(left_out), grid, arena
    )


class _Layout(NamedTuple):
    kind: str
    ratio: float | None
    make: Callable[[], Store]

    @property
    def name(self) -> str:
        return self.kind if self.ratio is None else f"{self.kind} {self.ratio:g}"


def _layouts(
    spec: ModelSpec, flags: ServerFlags, budget: Budget, ratios: Sequence[float]
) -> Iterator[_Layout]:
    if spec.states:
        for ratio in dict.fromkeys(ratios):
            yield _Layout(STATIC, ratio, partial(_static, spec, flags, budget, ratio))
        yield _Layout(UNIFIED, None, lambda: UnifiedStore(unified_plan(spec, flags, budget)))
    else:
        yield _Layout(STATIC, None, lambda: StaticStore(static_plan(spec, flags, budget)))
    yield _Layout(ARENA, None, lambda: ArenaStore(arena_plan(spec, flags, budget)))


def _static(spec: ModelSpec, flags: ServerFlags, budget: Budget, ratio: float) -> StaticStore:
    return StaticStore(static_at(spec, flags, budget, ratio))


def _best_rows(grid: Sequence[StaticPlan], workloads: Sequence[Workload]) -> list[Row]:
    found = [(w, best_of(grid, w)) for w in workloads]
    return [
        Row(BEST, best[0].settled.ratio, w, StaticStore(best[0]), best[1])
        for w, best in found
        if best is not None
    ]
