"""The arena's bytes moved by kernels: interpreted on the CPU, or compiled on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

ON_GPU = os.environ["CACHEPAWL_KERNEL_TESTS"] == "gpu"


@pytest.fixture(scope="session")
def device() -> str:
    return "cuda" if ON_GPU else "cpu"


@pytest.fixture(autouse=True)
def guard() -> Iterator[object]:
    """Every launch of every test is guarded while it is interpreted; it counts them, too."""
    if ON_GPU:
        yield None
        return
    from interpreter_guard import guarded

    with guarded() as checks:
        yield checks


@pytest.fixture(autouse=True)
def grads_off() -> Iterator[None]:
    with torch.inference_mode():
        yield
