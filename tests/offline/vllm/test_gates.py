"""Gates: beyond fails, equal passes, null is no verdict."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_plans import plan, zamba2

from cachepawl.errors import InputError
from cachepawl.offline.vllm.gates import Metrics, Thresholds, checked, failures, metrics
from cachepawl.offline.vllm.mixes import parse_mix
from cachepawl.offline.vllm.records import VllmReport
from cachepawl.offline.vllm.report import vllm_report
from cachepawl.offline.vllm.schema import CachePlan


def report(mix: str | None = None, value: dict | None = None) -> VllmReport:
    words = None if mix is None else parse_mix(mix)
    return vllm_report(CachePlan.model_validate(value or zamba2()), None, words)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 9), st.floats(1, 9))
def test_only_what_is_beyond_fails(wasted: float, f: float, ratio: float, r: float) -> None:
    failed = failures(Metrics("classic", wasted, ratio, ""), checked(f, r))
    assert len(failed) == (wasted > f) + (ratio > r)


def test_equal_passes_and_the_next_number_fails() -> None:
    found = metrics(report(), "classic")
    assert found[1:3] == (0.4230902777777778, 1.7333734577189286)
    assert failures(found, Thresholds(0.4230902777777778, 1.7333734577189286)) == []
    waste, ratio = (math.nextafter(value, 0) for value in found[1:3])
    assert failures(found, Thresholds(waste)) == [
        f"wasted_fraction 0.4230902777777778 > {waste} (classic; --fail-on-waste-fraction)"
    ]
    assert len(failures(found, Thresholds(waste, ratio))) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, -1e-300])
def test_no_threshold(value: float) -> None:
    with pytest.raises(InputError, match=r"--fail-on-waste-fraction .*: give a number"):
        checked(value, None)
    with pytest.raises(InputError, match=r"--fail-on-overestimation-ratio .*: give a number"):
        checked(None, value)


def test_a_percentage_is_no_fraction() -> None:
    with pytest.raises(InputError, match="42 %"):
        checked(42.0, None)
    assert checked(1.0, 42.0) == Thresholds(1.0, 42.0)


def test_exact_looks_at_the_given_mix_else_at_the_worst() -> None:
    worst = metrics(report(), "exact")
    assert worst.wasted_fraction == pytest.approx(0.3013, abs=5e-5)
    assert worst.overestimation_ratio == pytest.approx(1 / (1 - worst.wasted_fraction))
    given_mix = metrics(report("attention=86,mamba=6"), "exact")
    assert given_mix.wasted_fraction == pytest.approx(0.0197, abs=5e-5)
    assert metrics(report("attention=86,mamba=6"), "classic").wasted_fraction > 0.42
    assert failures(worst, Thresholds(0.31)) == []
    assert "exact, worst mix" in failures(worst, Thresholds(0.3))[0]
    assert "exact, given mix" in failures(given_mix, Thresholds(0.01))[0]


@pytest.mark.parametrize("accounting", ["classic", "exact"])
def test_a_null_metric_is_no_verdict(accounting) -> None:
    found = metrics(report(value=plan() | {"num_blocks": None}), accounting)
    assert failures(found, Thresholds()) == []
    for thresholds in (Thresholds(1.0), Thresholds(None, 9.0)):
        with pytest.raises(InputError, match=r"is null: .*num_blocks.*leave the gate out"):
            failures(found, thresholds)
