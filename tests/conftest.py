"""What tests of several rooms share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from cachepawl import collector

collector.rest()  # while tests are collected, some of which import SGLang
Machine = type[RuleBasedStateMachine]

COMMON = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=True,
)
settings.register_profile("same", COMMON, derandomize=True, database=None)
settings.register_profile("fresh", COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
# For tests that say nothing else: the same examples every time, and no test fails for being slow.

MUTANT = settings(
    COMMON,
    max_examples=1000,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)
"""The same runs every time; what fails is not shrunk, for it has to fail.

Hypothesis draws constants from whatever modules are loaded, so which run is the first to notice
depends on the tests beside it.  Only a mutant that nobody notices costs them all."""


def pytest_collection_finish() -> None:
    """A collection of garbage in a test need not look at what all modules have made."""
    collector.resume()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """A test that switches logging off for the process would blind those that come after it."""
    yield
    assert logging.root.manager.disable == logging.NOTSET, "the test left logging switched off"


@pytest.fixture
def must_pass() -> Callable[..., None]:
    """`must_pass(machine, runs=, steps=)`: the same runs every time; `fresh=True`, new ones."""

    def check(machine: Machine, *, runs: int, steps: int, fresh: bool = False) -> None:
        chosen = settings(COMMON, max_examples=runs, stateful_step_count=steps)
        if not fresh:
            chosen = settings(chosen, derandomize=True, database=None)
        run_state_machine_as_test(machine, settings=chosen)

    return check


@pytest.fixture
def must_fail() -> Callable[..., None]:
    """`must_fail(machine, *errors)`: the machine, on a broken subject, ends with one of these.

    An assertion and a refusal that did not come count always.
    """

    def check(machine: Machine, *errors: type[BaseException]) -> None:
        with pytest.raises((AssertionError, pytest.fail.Exception, *errors)):
            run_state_machine_as_test(machine, settings=MUTANT)

    return check
