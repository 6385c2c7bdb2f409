"""Capacity from bytes: no ratio between KV and states, no `slots // 5`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = (
    "sglang.srt.mem_cache.kv_cache_configurator.KVCacheConfigurator._resolve_memory_pool_config"
)


class Sizer(Protocol):
    """Who knows what the arena holds."""

    def serves(self, configurator: Any) -> bool:
        """Whether the configurator's model gets an arena."""

    def pool_config(self, configurator: Any, budget: Callable[[], int]) -> Any:
        """SGLang's MemoryPoolConfig; `budget()` measures what may be reserved, in bytes."""


def install(sizer: Sizer) -> None:
    """Ask `sizer` instead of splitting the budget."""

    def around(original: Any, self: Any, pre_model_load_memory: int) -> Any:
        if not sizer.serves(self):
            return original(self, pre_model_load_memory)
        return sizer.pool_config(self, lambda: _measure(self, pre_model_load_memory))

    HookRegistry.register(TARGET, around, HookType.AROUND)


def _measure(configurator: Any, pre_model_load_memory: int) -> int:
    """What --mem-fraction-static leaves for KV and states together, in bytes.

    SGLang's own measure, without the step that takes the states' share away.
    """
    owner = type(configurator)  # its instances have slots
    original = owner._handle_max_mamba_cache
    owner._handle_max_mamba_cache = lambda self, rest_gib: rest_gib
    try:
        return int(configurator._profile_available_bytes(pre_model_load_memory))
    finally:
        owner._handle_max_mamba_cache = original
