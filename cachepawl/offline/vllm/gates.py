"""Thresholds that fail a run: on the classic figures, or on the exact ones of a mix."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.vllm.records import VllmReport

Accounting = Literal["classic", "exact"]
WASTE = "--fail-on-waste-fraction"
RATIO = "--fail-on-overestimation-ratio"


class Thresholds(NamedTuple):
    """The largest values that pass; None for no gate."""

    waste: float | None = None
    ratio: float | None = None


class Metrics(NamedTuple):
    """What the gates look at."""

    of: str
    """Which figures these are, for messages."""
    wasted_fraction: float | None
    overestimation_ratio: float | None
    why_null: str


def checked(waste: float | None, ratio: float | None) -> Thresholds:
    """InputError for NaN, infinite and negative thresholds, and for a fraction above 1."""
    for flag, value in ((WASTE, waste), (RATIO, ratio)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{flag} {value}: give a number of at least 0")
    if waste is not None and waste > 1:
        raise InputError(f"{WASTE} {waste}: give a fraction, at most 1; 0.42 is 42 %")
    return Thresholds(waste, ratio)


def metrics(report: VllmReport, accounting: Accounting) -> Metrics:
    """Classic: of the whole plan.  Exact: of the mix given, else of the worst one."""
    if accounting == "classic":
        why = "the plan lacks tensors, num_blocks or total_useful_bytes, or one of them is 0"
        return Metrics("classic", report.wasted_fraction, report.overestimation_ratio, why)
    exact = report.exact
    mix = exact.given or exact.worst
    if mix is None:
        return Metrics("exact", None, None, exact.unavailable or "")
    of = "exact, given mix" if exact.given else "exact, worst mix"
    return Metrics(of, mix.wasted_fraction, mix.overestimation_ratio, "nothing in it is useful")


def failures(found: Metrics, thresholds: Thresholds) -> list[str]:
    """Each gate that fails, in words; a metric that equals its threshold passes.

    InputError for a gate whose metric is null: it can neither pass nor fail.
    """
    gates = (
        (WASTE, "wasted_fraction", found.wasted_fraction, thresholds.waste),
        (RATIO, "overestimation_ratio", found.overestimation_ratio, thresholds.ratio),
    )
    failed = []
    for flag, name, value, most in gates:
        if most is None:
            continue
        if value is None:
            raise InputError(
                f"{flag} {most}: {name} ({found.of}) is null: {found.why_null}; "
                "give a plan that has them, or leave the gate out"
            )
        if value > most:
            failed.append(f"{name} {value} > {most} ({found.of}; {flag})")
    return failed
