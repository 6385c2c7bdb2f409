"""A driver that names a GPU and has none: launches go as far as the compiled kernel.

What Triton's JIT makes of a launcher's very arguments (types, alignment, constants) is compiled
as on that GPU; nothing runs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import JITFunction, driver

from cachepawl_kernels import devices


class NoGpu(DriverBase):
    """Answers what the JIT asks before it launches."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("nothing is tuned")

    def get_current_device(self) -> int:
        # The JIT keeps what it compiled by device, so two targets must not be one.
        return zlib.crc32(str(self._target).encode())

    def get_current_stream(self, device: int = 0) -> int:
        return 0


@contextmanager
def compiling_for(target: GPUTarget) -> Iterator[list[Any]]:
    """Inside, launches on CPU tensors are compiled for `target` and listed."""
    built: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        built.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    with (
        patch.object(driver, "_active", NoGpu(target)),
        patch.object(JITFunction, "run", compile_only),
        patch.object(devices, "why_not", lambda _: None),
    ):
        yield built
