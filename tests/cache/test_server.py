"""The cache under a server in miniature; the machine is in conftest.py."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def test_serves_from_the_right_memory(server_machine: type, must_pass: Callable[..., None]) -> None:
    must_pass(server_machine, runs=300, steps=40)


@pytest.mark.stress
def test_serves_for_long(server_machine: type, must_pass: Callable[..., None]) -> None:
    """Fresh seeds; SERVER_EXAMPLES sets how many runs."""
    runs = int(os.environ.get("SERVER_EXAMPLES", "2000"))
    must_pass(server_machine, runs=runs, steps=80, fresh=True)
