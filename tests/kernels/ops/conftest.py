"""Interpreted under guard on the CPU, or compiled on a GPU: the same tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# A program costs milliseconds in the interpreter.
settings.register_profile("kernels", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("kernels")

ON_GPU = os.environ["CACHEPAWL_KERNEL_TESTS"] == "gpu"


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if ON_GPU else "cpu")


@pytest.fixture(autouse=True)
def guard() -> Iterator[object]:
    """Every launch of every test is guarded while it is interpreted."""
    if ON_GPU:
        yield None
        return
    from interpreter_guard import guarded

    with guarded() as checks:
        yield checks
