"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

Machine = type[RuleBasedStateMachine]

COMMON = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=True,
)
MUTANT = settings(
    COMMON,
    max_examples=300,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)
"""The same runs every time; what fails is not shrunk, for it has to fail."""


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
