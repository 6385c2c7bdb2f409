"""The frame allocator against sets of pages; the machine is in conftest.py."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


def test_against_sets(frames_machine: type) -> None:
    run_state_machine_as_test(
        frames_machine,
        settings=settings(
            **COMMON, max_examples=150, stateful_step_count=40, derandomize=True, database=None
        ),
    )


@pytest.mark.stress
def test_against_sets_for_long(frames_machine: type) -> None:
    """Fresh seeds; FRAMES_EXAMPLES sets how many."""
    examples = int(os.environ.get("FRAMES_EXAMPLES", "3000"))
    run_state_machine_as_test(
        frames_machine, settings=settings(**COMMON, max_examples=examples, stateful_step_count=60)
    )
