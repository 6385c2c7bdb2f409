"""Scenarios that the real tree must pass and every mutant listed with one must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cachepawl.errors import InvariantError
from cachepawl.tree import RadixTree

TreeType = Callable[..., RadixTree]
Scenario = Callable[[TreeType], None]


class Scenarios:
    """The scenarios of one file."""

    def __init__(self) -> None:
        self.mutants: dict[Scenario, tuple[TreeType, ...]] = {}

    def caught_on(self, *mutants: TreeType) -> Callable[[Scenario], Scenario]:
        """Decorates a scenario that fails on these."""

        def add(scenario: Scenario) -> Scenario:
            self.mutants[scenario] = mutants
            return scenario

        return add

    def each(self) -> Any:
        """Parametrizes a test by `scenario`."""
        return pytest.mark.parametrize("scenario", list(self.mutants))

    def each_mutant(self) -> Any:
        """Parametrizes a test by `scenario` and `mutant`."""
        pairs = [(scenario, mutant) for scenario, many in self.mutants.items() for mutant in many]
        return pytest.mark.parametrize(("scenario", "mutant"), pairs)


def must_catch(scenario: Scenario, mutant: TreeType) -> None:
    """The scenario fails on the mutant.

    By an assertion of the scenario (a missing refusal is pytest's own failure) or by the
    checks.  What merely breaks on the way does not count.
    """
    with pytest.raises((AssertionError, InvariantError, pytest.fail.Exception)):
        scenario(mutant)
