"""Other pool classes under SGLang's own wiring."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

MODULE = "sglang.srt.mem_cache.kv_cache_configurator"
TARGET = f"{MODULE}.KVCacheConfigurator._init_pools"

Substitutes = dict[str, Any]
"""Class names in SGLang's module -> what is called instead while the pools are built."""


def install(
    substitutes_for: Callable[[Any], Substitutes | None], check: Callable[[Any], None]
) -> None:
    """Build the pools with other classes.

    `substitutes_for(configurator)` is None where stock pools are wanted; `check(pools)`
    raises when the result is not what it should be.
    """

    def around(original: Any, self: Any, **arguments: Any) -> Any:
        names = None if arguments.get("req_to_token_pool") else substitutes_for(self)
        if names is None:
            return original(self, **arguments)
        with _rebound(importlib.import_module(MODULE), names):
            pools = original(self, **arguments)
        check(pools)
        return pools

    HookRegistry.register(TARGET, around, HookType.AROUND)


@contextmanager
def _rebound(module: Any, names: Substitutes) -> Iterator[None]:
    saved = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(saved)
