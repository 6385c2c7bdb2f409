"""Puts patches and the prefix cache's backend in place in one process."""

from __future__ import annotations

from typing import Any

import sglang
from sglang.srt.mem_cache.registry import register_radix_cache_backend
from sglang.srt.plugins.hook_registry import HookRegistry

from cachepawl.config import BACKEND, Options
from cachepawl.errors import ConfigError
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.assembly import Assembly
from cachepawl_launch.cpu import hooks
from cachepawl_launch.cpu.platform_name import selected
from cachepawl_patches import (
    allocation,
    answer_grid,
    arrival,
    beam_search,
    fingerprint,
    forward_start,
    host_tier,
    idle_metrics,
    init_pools,
    internal_state,
    memory_config,
    passing_over,
)


def check_sglang(allow_other: bool) -> list[str]:
    """What differs from the SGLang that cachepawl knows; ConfigError unless allowed."""
    found = sglang.__version__
    if found != fingerprint.SGLANG_VERSION:
        lines = [f"SGLang is {found}, cachepawl knows {fingerprint.SGLANG_VERSION}"]
    else:
        lines = fingerprint.differences()
    if lines and not allow_other:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(
            f"{lines[0]}{more}; install sglang=={fingerprint.SGLANG_VERSION}, or pass "
            f"--cachepawl-allow-other-sglang at your own risk"
        )
    return lines


PATCHED = (
    memory_config.TARGET,
    init_pools.TARGET,
    allocation.EXTEND,
    allocation.DECODE,
    forward_start.TARGET,
    internal_state.TARGET,
    beam_search.TARGET,
    answer_grid.TARGET,
    idle_metrics.TARGET,
    passing_over.TARGET,
)
"""Always; more where an option asks for it."""


def targets(options: Options) -> tuple[str, ...]:
    """What is patched for these options."""
    more = arrival.TARGETS if options.learns else ()
    return PATCHED + more + (host_tier.TARGETS if options.host_gb is not None else ())


def check_applied(options: Options) -> None:
    """ConfigError unless SGLang applied every patch; it only logs one that fails."""
    missing = [target for target in targets(options) if target not in HookRegistry._patched]
    if missing:
        raise ConfigError(f"SGLang did not apply the patch of {missing[0]}; see its log above")


def install(options: Options) -> Assembly:
    """Register everything with SGLang; ConfigError when this is not the SGLang we know."""
    check_sglang(options.allow_other_sglang)
    assembly = Assembly(options)
    memory_config.install(assembly.sizer)
    init_pools.install(assembly.substitutes, assembly.check_pools)
    allocation.install(assembly.before_decode, assembly.after_allocation)
    forward_start.install(assembly.start_forward)
    internal_state.install(assembly.describe, assembly.draw_map)
    beam_search.install()
    answer_grid.install(options.answer_interval)
    idle_metrics.install(assembly.push_metrics)
    passing_over.install()
    if options.learns:
        arrival.install()
    if options.host_gb is not None:
        host_tier.install(assembly.host_steps)

    def make_tree_cache(context: Any) -> CachepawlPrefixCache:
        check_applied(options)
        if selected():
            hooks.check_applied()
        return assembly.make_tree_cache(context)

    register_radix_cache_backend(BACKEND, make_tree_cache)
    return assembly
