"""The static split at several ratios, and at the one that would have been best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cachepawl.offline.plan.fits import Fit, fit
from cachepawl.offline.plan.stores import StaticStore
from cachepawl.offline.plan.workload import Workload
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory import Budget, DoesNotFit, StaticPlan, static_plan
from cachepawl.specs.model import ModelSpec

STEPS = 161
LOWEST, HIGHEST = 0.01, 100.0
GRID = tuple(
    float(f"{LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)):.4g}") for step in range(STEPS)
)
"""Ratios from 0.01 to 100, each 5.9 % above the last."""


def static_at(spec: ModelSpec, flags: ServerFlags, budget: Budget, ratio: float) -> StaticPlan:
    """The static split at another ratio; DoesNotFit as `static_plan`."""
    return static_plan(spec, replace(flags, mamba_full_memory_ratio=ratio), budget)


def sweep(
    spec: ModelSpec, flags: ServerFlags, budget: Budget, ratios: Iterable[float]
) -> list[StaticPlan]:
    """The plans of those ratios at which the server starts."""
    plans = []
    for ratio in ratios:
        try:
            plans.append(static_at(spec, flags, budget, ratio))
        except DoesNotFit:
            continue
    return plans


def best_of(plans: Iterable[StaticPlan], workload: Workload) -> tuple[StaticPlan, Fit] | None:
    """The plan that serves the workload's requests, then keeps most conversations, then could
    run most; the lowest ratio of equals.  None without plans."""
    best: tuple[StaticPlan, Fit] | None = None
    for plan in plans:
        found = fit(StaticStore(plan), workload)
        if best is None or _score(found) > _score(best[1]):
            best = plan, found
    return best


def _score(f: Fit) -> tuple[int, int, int]:
    return f.running, f.held, f.at_once
