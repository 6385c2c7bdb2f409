"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

Machine = type[RuleBasedStateMachine]

MUTANT = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=300,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)
"""The same runs every time; what fails is not shrunk, for it has to fail."""


@pytest.fixture
def must_fail() -> Callable[..., None]:
    """`must_fail(machine, *errors)`: the machine, on a broken subject, ends with one of these.

    An assertion and a refusal that did not come count always.
    """

    def check(machine: Machine, *errors: type[BaseException]) -> None:
        with pytest.raises((AssertionError, pytest.fail.Exception, *errors)):
            run_state_machine_as_test(machine, settings=MUTANT)

    return check
