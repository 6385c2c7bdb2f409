"""The frame allocator against sets of pages; the machine is in conftest.py."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def test_against_sets(frames_machine: type, must_pass: Callable[..., None]) -> None:
    must_pass(frames_machine, runs=150, steps=40)


@pytest.mark.stress
def test_against_sets_for_long(frames_machine: type, must_pass: Callable[..., None]) -> None:
    """Fresh seeds; FRAMES_EXAMPLES sets how many runs."""
    runs = int(os.environ.get("FRAMES_EXAMPLES", "3000"))
    must_pass(frames_machine, runs=runs, steps=60, fresh=True)
