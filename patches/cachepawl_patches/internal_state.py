"""One more section in what the server says of itself (`GET /server_info`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = "sglang.srt.managers.scheduler.Scheduler.get_internal_state"
SECTION = "cachepawl"


def install(describe: Callable[[Any], dict[str, Any] | None]) -> None:
    """Add `describe(scheduler)` under `cachepawl`; None adds nothing."""

    def after(result: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        section = describe(self)
        if section is not None:
            result.internal_state[SECTION] = section
        return result

    HookRegistry.register(TARGET, after, HookType.AFTER)
