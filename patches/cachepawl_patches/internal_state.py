"""What the server says of itself: a section in `GET /server_info`, and a map when ordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = "sglang.srt.managers.scheduler.Scheduler.get_internal_state"
SECTION = "cachepawl"
MAP_SECTION = "cachepawl_map"

Section = dict[str, Any] | None


def install(describe: Callable[[Any], Section], draw: Callable[[str | None], Section]) -> None:
    """Add `describe(scheduler)`, and `draw` of the request's id as a map; None adds nothing."""

    def after(result: Any, self: Any, recv_req: Any) -> Any:
        for name, section in ((SECTION, describe(self)), (MAP_SECTION, draw(recv_req.rid))):
            if section is not None:
                result.internal_state[name] = section
        return result

    HookRegistry.register(TARGET, after, HookType.AFTER)
