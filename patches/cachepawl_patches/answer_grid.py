"""Where decodes take snapshots: SGLang's every 256 tokens, or more often."""

from __future__ import annotations

from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

from cachepawl.snapshots import answer_grid

TARGET = "sglang.srt.runtime_context.mamba_track_grid"


def install(interval: int | None) -> None:
    """Snapshots at multiples of `interval` tokens that are whole pages; None leaves SGLang's."""

    def around(original: Any, tree_page: int) -> Any:
        return original(tree_page) if interval is None else answer_grid(tree_page, interval)

    HookRegistry.register(TARGET, around, HookType.AROUND)
