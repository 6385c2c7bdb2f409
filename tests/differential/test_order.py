"""What goes first, and when: each tree is foretold by its rules, and every rule counts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest
from order import Foretold
from rules import OURS, SGLANG, Rules
from subjects import OurSubject, Subject, TheirSubject
from walk import walk

from benchmarks.sglang_tree import CORES, sglang_context, why_no_rust

PAGES = (1, 4, 16)
WHO = ("ours", *CORES)
STEPS = int(os.environ.get("DIFFERENTIAL_STEPS", "20000"))
ALL = [rule.name for rule in dataclasses.fields(Rules)]
MODELS = [
    pytest.param(has_states, window, id="full" + "+swa" * bool(window) + "+mamba" * has_states)
    for has_states in (False, True)
    for window in (0, 1, 3)
]
"""States, and a window's pages (of the last page only one token) or 0."""


@pytest.fixture(params=WHO)
def who(request: pytest.FixtureRequest) -> str:
    if request.param == "rust" and (why := why_no_rust()):
        pytest.skip(f"no Rust core here: {why}")
    return str(request.param)


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Iterator[int]:
    with sglang_context(request.param):
        yield request.param


def make(who: str, page: int, has_states: bool, window: int = 0) -> tuple[Subject, Rules]:
    tokens = page * (window - 1) + 1 if window else None
    if who == "ours":
        return OurSubject(page, has_states=has_states, window=tokens), OURS
    return TheirSubject(who, page, has_states=has_states, window=tokens), SGLANG


@pytest.mark.parametrize(("has_states", "window"), MODELS)
def test_foretold(who: str, page: int, has_states: bool, window: int) -> None:
    walk(Foretold(*make(who, page, has_states, window)), seed=1, steps=500)


@pytest.mark.stress
@pytest.mark.parametrize(("has_states", "window"), MODELS)
def test_foretold_for_long(who: str, page: int, has_states: bool, window: int) -> None:
    for seed in range(STEPS // 2000):
        walk(Foretold(*make(who, page, has_states, window)), seed=1000 + seed, steps=2000)


@pytest.mark.parametrize("name", ALL)
def test_every_rule_counts(who: str, name: str) -> None:
    """A tree foretold by rules of which one is the other side's: the walk notices.  So no rule is
    there for show."""
    with sglang_context(1):
        subject, rules = make(who, 1, True, 3)
        wrong = dataclasses.replace(rules, **{name: not getattr(rules, name)})
        with pytest.raises(AssertionError):
            walk(Foretold(subject, wrong), seed=1, steps=8000)


def test_the_rules_are_opposite() -> None:
    """There is no rule on which both agree."""
    ours, theirs = dataclasses.asdict(OURS), dataclasses.asdict(SGLANG)
    assert all(ours[name] != theirs[name] for name in ALL)
