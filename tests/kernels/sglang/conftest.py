"""SGLang's kernels interpreted on the CPU, or compiled on a GPU: the same tests."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    if os.environ["CACHEPAWL_KERNEL_TESTS"] == "gpu":
        return torch.device("cuda")
    from sglang_on_cpu import look_up_late, prepare

    prepare()
    look_up_late("sglang.kernels.ops")
    return torch.device("cpu")
