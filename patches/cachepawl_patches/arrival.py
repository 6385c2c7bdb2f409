"""When a request came: stamped where it enters, carried to every rank with the request.

SGLang sends a request's statistics along with it, without their times, as each process has a
clock of its own.  One more field travels with them, so that all ranks read the same time.
"""

from __future__ import annotations

import time
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

_STATS = "sglang.srt.observability.req_time_stats.ReqTimeStatsBase"
SENT = f"{_STATS}.__getstate__"
RECEIVED = f"{_STATS}.new_from_obj"
TARGETS = (SENT, RECEIVED)
FIELD = "cachepawl_arrived"
"""Milliseconds since 1970, by the clock of the process that first sent the request on."""


def install() -> None:
    """Stamp every request that has no time yet, and keep the time of one that has."""

    def sent(state: dict[str, Any], self: Any) -> dict[str, Any]:
        arrived = getattr(self, FIELD, None)
        return {**state, FIELD: int(time.time() * 1000) if arrived is None else arrived}

    def received(made: Any, *args: Any, **kwargs: Any) -> Any:
        for source in (*args, *kwargs.values()):
            arrived = getattr(source, "__dict__", {}).get(FIELD)
            if arrived is not None:
                setattr(made, FIELD, arrived)
        return made

    HookRegistry.register(SENT, sent, HookType.AFTER)
    HookRegistry.register(RECEIVED, received, HookType.AFTER)


def arrived(req: Any) -> int:
    """When the request came, in milliseconds; 0 for one that nobody stamped."""
    return getattr(req.time_stats, FIELD, 0)
