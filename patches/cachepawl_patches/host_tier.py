"""The scheduler's steps in which a host tier has a part; nothing is patched without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

_MANAGERS = "sglang.srt.managers"
POLL = f"{_MANAGERS}.scheduler.Scheduler._process_hicache_events"
FILL = f"{_MANAGERS}.scheduler.Scheduler.get_new_batch_prefill"
IDLE = f"{_MANAGERS}.scheduler.Scheduler.is_fully_idle"
SOURCE = f"{_MANAGERS}.schedule_batch.Req.materialized_host_hit_len"
RESULTS = f"{_MANAGERS}.scheduler.Scheduler.process_batch_result"
RETRACT = f"{_MANAGERS}.schedule_batch.ScheduleBatch.release_req"
TARGETS = (POLL, FILL, IDLE, SOURCE, RESULTS, RETRACT)


class Steps(Protocol):
    """What is called, with SGLang's scheduler or request."""

    def poll(self, scheduler: Any) -> None:
        """First thing in a step, before anything is decided."""

    def fill_batch(self, original: Any, scheduler: Any, running_batch: Any) -> Any:
        """Instead of `original(scheduler, running_batch)`, which fills a prefill batch."""

    def retract(self, req: Any) -> None:
        """A running request is about to give its row back, and will be queued again."""

    def before_results(self, batch: Any) -> None:
        """What a batch computed is about to be looked at."""

    def is_idle(self) -> bool:
        """Whether nothing goes on beside the requests."""

    def from_host(self, req: Any) -> int:
        """Tokens of the prefix of a request just admitted that came from the host."""


def install(steps: Callable[[], Steps]) -> None:
    """Call `steps()` in every step; it is there once the scheduler has its prefix cache."""

    def poll(self: Any, *args: Any, **kwargs: Any) -> None:
        steps().poll(self)

    def fill(original: Any, self: Any, running_batch: Any) -> Any:
        return steps().fill_batch(original, self, running_batch)

    def idle(
        result: Any, self: Any, for_health_check: bool = False, ignore_waiting: bool = False
    ) -> Any:
        return result and (for_health_check or steps().is_idle())

    def source(original: Any, self: Any) -> int:
        return original(self) or steps().from_host(self)

    def retract(self: Any, idx: int, *args: Any, offload_kv: bool = True, **kwargs: Any) -> None:
        # Without `offload_kv` it is aborted.
        if offload_kv:
            steps().retract(self.reqs[idx])

    def results(self: Any, batch: Any, *args: Any, **kwargs: Any) -> None:
        steps().before_results(batch)

    HookRegistry.register(POLL, poll, HookType.BEFORE)
    HookRegistry.register(FILL, fill, HookType.AROUND)
    HookRegistry.register(IDLE, idle, HookType.AFTER)
    HookRegistry.register(SOURCE, source, HookType.AROUND)
    HookRegistry.register(RESULTS, results, HookType.BEFORE)
    HookRegistry.register(RETRACT, retract, HookType.BEFORE)
