"""Puts patches and the prefix cache's backend in place in one process."""

from __future__ import annotations

import sglang
from sglang.srt.mem_cache.registry import register_radix_cache_backend

from cachepawl.config import Options
from cachepawl.errors import ConfigError
from cachepawl_launch.assembly import BACKEND, Assembly
from cachepawl_patches import (
    allocation,
    fingerprint,
    forward_start,
    init_pools,
    internal_state,
    memory_config,
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


def install(options: Options) -> Assembly:
    """Register everything with SGLang; ConfigError when this is not the SGLang we know."""
    check_sglang(options.allow_other_sglang)
    assembly = Assembly(options)
    memory_config.install(assembly.sizer)
    init_pools.install(assembly.substitutes, assembly.check_pools)
    allocation.install(assembly.before_decode, assembly.after_allocation)
    forward_start.install(assembly.start_forward)
    internal_state.install(assembly.describe)
    register_radix_cache_backend(BACKEND, assembly.make_tree_cache)
    return assembly
