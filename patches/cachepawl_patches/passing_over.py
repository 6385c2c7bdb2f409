"""A prefill pass goes on behind a request that waits for the next one.

SGLang's loop over the queue ends at the first request that is not admitted.  One that waits for a
state which the pass computes should hold nobody up.
"""

from __future__ import annotations

import functools
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = "sglang.srt.managers.scheduler.Scheduler.get_prefill_adder_class"


def install() -> None:
    """Passes are filled by an adder that asks the budget `next_may_come`."""

    def made(adder: Any, self: Any) -> Any:
        return _passing_over(adder)

    HookRegistry.register(TARGET, made, HookType.AFTER)


@functools.cache
def _passing_over(adder: Any) -> Any:
    class PassingOver(adder):
        def add_one_req(self, req: Any, *args: Any, **kwargs: Any) -> Any:
            said = super().add_one_req(req, *args, **kwargs)
            # A request that is matched has taken nothing yet, so there is nothing to take back.
            return self.budget_state() if self.memory_budget.next_may_come() else said

    return PassingOver
