"""What SGLang's Triton kernels lack where only the interpreter runs them.

None of this changes what a kernel computes: a context manager that has nothing to do, the first
of an autotuner's configurations instead of the fastest, and functions of the language looked up
when they are called, since the interpreter replaces them after SGLang has taken them.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import Any

import torch
import triton.language as tl
from triton.runtime.autotuner import Autotuner

TAKEN_EARLY = ("exp", "exp2", "log", "log2")


def prepare() -> None:
    """Call it before the first kernel runs."""
    if not hasattr(torch.cpu, "device"):
        torch.cpu.device = lambda *_: contextlib.nullcontext()  # type: ignore[attr-defined]
    Autotuner._bench = lambda *_, **__: [1.0, 1.0, 1.0]


def look_up_late(package: str) -> None:
    """In every loaded module of `package`: the language's own functions at the time of a call."""
    for name, module in list(sys.modules.items()):
        if name.startswith(package):
            for function in TAKEN_EARLY:
                _replace(module, function)


def _replace(module: ModuleType, function: str) -> None:
    if getattr(module, function, None) is not getattr(tl, function):
        return

    def late(x: Any) -> Any:
        return getattr(tl, function)(x)

    setattr(module, function, late)
