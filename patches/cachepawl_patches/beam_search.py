"""Beam search asks for KV in its own way; a request for it is refused, not the server's end."""

from __future__ import annotations

from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType

TARGET = "sglang.srt.beam_search.coordinator.BeamCoordinator.validate_and_init"
REFUSAL = "Beam search is not supported with cachepawl yet; send beam_width 1."


def install() -> None:
    """Answer every beam request with `REFUSAL`."""

    def around(original: Any, self: Any, req: Any, recv_req: Any) -> str:
        return REFUSAL

    HookRegistry.register(TARGET, around, HookType.AROUND)
