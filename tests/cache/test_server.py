"""The cache under a server in miniature; the machine is in conftest.py."""

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


def test_serves_from_the_right_memory(server_machine: type) -> None:
    run_state_machine_as_test(
        server_machine,
        settings=settings(
            **COMMON, max_examples=300, stateful_step_count=40, derandomize=True, database=None
        ),
    )


@pytest.mark.stress
def test_serves_for_long(server_machine: type) -> None:
    """Fresh seeds; SERVER_EXAMPLES sets how many."""
    examples = int(os.environ.get("SERVER_EXAMPLES", "2000"))
    run_state_machine_as_test(
        server_machine, settings=settings(**COMMON, max_examples=examples, stateful_step_count=80)
    )
