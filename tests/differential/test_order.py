"""What goes first, and when: each tree is foretold by its rules, and every rule counts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest
from order import OURS, SGLANG, Foretold, OurSubject, Rules, Subject, TheirSubject
from walk import walk

from benchmarks.sglang_tree import CORES, sglang_context, why_no_rust

PAGES = (1, 4, 16)
WHO = ("ours", *CORES)
STEPS = int(os.environ.get("DIFFERENTIAL_STEPS", "20000"))
ALL = [rule.name for rule in dataclasses.fields(Rules)]
STATES_ONLY = {
    "cold_leaves_first": WHO,
    "cold_parents_go_too": WHO,
    "state_takes_leaf": WHO,
    # All KV that SGLang finds is its hit.
    "match_uses_kv_below_hit": tuple(CORES),
}
"""Rules that say nothing of a tree without states, and of whose."""


@pytest.fixture(params=WHO)
def who(request: pytest.FixtureRequest) -> str:
    if request.param == "rust" and (why := why_no_rust()):
        pytest.skip(f"no Rust core here: {why}")
    return str(request.param)


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Iterator[int]:
    with sglang_context(request.param):
        yield request.param


def make(who: str, page: int, has_states: bool) -> tuple[Subject, Rules]:
    if who == "ours":
        return OurSubject(page, has_states=has_states), OURS
    return TheirSubject(who, page, has_states=has_states), SGLANG


@pytest.mark.parametrize("has_states", [True, False])
def test_foretold(who: str, page: int, has_states: bool) -> None:
    walk(Foretold(*make(who, page, has_states)), seed=1, steps=800)


@pytest.mark.stress
@pytest.mark.parametrize("has_states", [True, False])
def test_foretold_for_long(who: str, page: int, has_states: bool) -> None:
    for seed in range(STEPS // 2000):
        walk(Foretold(*make(who, page, has_states)), seed=1000 + seed, steps=2000)


@pytest.mark.parametrize("has_states", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_every_rule_counts(who: str, name: str, has_states: bool) -> None:
    """A tree foretold by rules of which one is the other side's: the walk notices, where the
    rule says anything.  So no rule is there for show."""
    with sglang_context(1):
        subject, rules = make(who, 1, has_states)
        wrong = dataclasses.replace(rules, **{name: not getattr(rules, name)})
        if not has_states and who in STATES_ONLY.get(name, ()):
            walk(Foretold(subject, wrong), seed=1, steps=1000)
            return
        with pytest.raises(AssertionError):
            walk(Foretold(subject, wrong), seed=1, steps=4000)


def test_the_rules_are_opposite() -> None:
    """There is no rule on which both agree."""
    ours, theirs = dataclasses.asdict(OURS), dataclasses.asdict(SGLANG)
    assert all(ours[name] != theirs[name] for name in ALL)
