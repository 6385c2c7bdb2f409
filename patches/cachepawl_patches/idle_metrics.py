"""An idle server reports its metrics: ours go with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = (
    "sglang.srt.managers.scheduler_components.metrics_reporter"
    ".SchedulerMetricsReporter._maybe_log_idle_metrics"
)


def install(report: Callable[[], None]) -> None:
    """Call `report()` whenever an idle scheduler looks after its metrics: at every turn."""

    def before(self: Any, *args: Any, **kwargs: Any) -> None:
        report()

    HookRegistry.register(TARGET, before, HookType.BEFORE)
