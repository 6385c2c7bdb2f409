"""The start of a forward, on the forward stream: after the last reader of what was freed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = "sglang.srt.model_executor.model_runner.ModelRunner._forward_raw"


def install(start: Callable[[Any], None]) -> None:
    """Call `start(model_runner)` first thing in every forward."""

    def before(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self)

    HookRegistry.register(TARGET, before, HookType.BEFORE)
