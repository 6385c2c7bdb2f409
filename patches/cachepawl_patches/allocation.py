"""Around SGLang's two KV allocations: which rows a decode step is for, and a check after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

EXTEND = "sglang.srt.mem_cache.allocation.alloc_for_extend"
DECODE = "sglang.srt.mem_cache.allocation.alloc_for_decode"

BeforeDecode = Callable[[Any, int], None]
"""`(batch, tokens per request)`, before a decode step allocates."""
AfterAllocation = Callable[[Any, int], None]
"""`(batch, tokens each row got beyond the batch's lengths)`, after either allocation."""


def install(before_decode: BeforeDecode, after: AfterAllocation) -> None:
    """Call `before_decode` and `after` at every step; both ignore batches not theirs."""

    def around_decode(original: Any, batch: Any, token_per_req: int) -> Any:
        before_decode(batch, token_per_req)
        result = original(batch, token_per_req)
        after(batch, token_per_req)
        return result

    def after_extend(result: Any, batch: Any) -> None:
        after(batch, 0)

    HookRegistry.register(DECODE, around_decode, HookType.AROUND)
    HookRegistry.register(EXTEND, after_extend, HookType.AFTER)
