"""How large the arena is and how many requests it takes: from bytes, never from a ratio."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from sglang.srt.model_executor.pool_configurator import MemoryPoolConfig
from sglang.srt.runtime_context import get_context, get_schedule

from cachepawl.config import Options
from cachepawl.pool.capacity import CONTEXTS, Capacity
from cachepawl.pool.geometry import Geometry, require_room_for_one
from cachepawl.pool.sizing import caps, request_limit, token_limit, useful_bytes
from cachepawl_launch.shapes import geometry_of_configurator, states_per_request

logger = logging.getLogger(__name__)


class ArenaSize(NamedTuple):
    """What the pools are built from."""

    geometry: Geometry
    budget: int
    """Bytes to reserve."""
    states_per_request: int
    page_cap: int
    state_cap: int


class ArenaSizer:
    """Sizes the arena of the scheduler's model once; other workers stay stock."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.size: ArenaSize | None = None

    def serves(self, configurator: Any) -> bool:
        return not configurator.is_draft_worker

    def pool_config(self, configurator: Any, budget: Callable[[], int]) -> MemoryPoolConfig:
        """SGLang's view of the arena; ConfigError when not even one request fits."""
        schedule = get_schedule()
        shapes = geometry_of_configurator(configurator)
        shapes = shapes.with_checkpoints(self.options.checkpoint_dtype)
        states = states_per_request() if shapes.state else 0
        page_cap, state_cap = caps(
            shapes, states, schedule.max_total_tokens, schedule.max_mamba_cache_size
        )
        total = self.options.device_bytes
        if total is None:
            total = min(budget(), useful_bytes(shapes, page_cap, state_cap))
        require_room_for_one(shapes, total, states)
        geometry = shapes.with_budget(total)
        self.size = ArenaSize(geometry, total, states, page_cap, state_cap)
        if geometry.state is not None:
            get_context().override("cachepawl.arena", max_mamba_cache_size=geometry.usable_frames)
        config = MemoryPoolConfig(
            max_total_num_tokens=token_limit(geometry, page_cap),
            max_running_requests=request_limit(
                geometry, states, schedule.max_running_requests, configurator.attn_dp_size
            ),
            mem_fraction_static=schedule.mem_fraction_static,
        )
        logger.info("%s", describe(self.size, config.max_running_requests))
        return config


def describe(size: ArenaSize, requests: int | None) -> str:
    """The start line."""
    g = size.geometry
    fits = Capacity(g, size.budget, size.states_per_request, exact=True)
    at = ", ".join(f"{fits.requests_at(n)} of {n // 1024}k" for n in CONTEXTS)
    return (
        f"cachepawl arena: {size.budget} bytes reserved, {g.usable_frames} frames of "
        f"{g.frame_bytes} B (one state of {g.state_bytes} B, or {g.pages_per_frame} pages of "
        f"{g.page_tokens} tokens at {g.entry_bytes} B a token{_checkpoints(g)}), "
        f"padding {100 * g.padding:.2f} %, "
        f"at most {requests} requests at once; room for {at} tokens"
    )


def _checkpoints(geometry: Geometry) -> str:
    if geometry.checkpoint_dtype is None:
        return ""
    return (
        f", or {geometry.checkpoints_per_frame} kept states of {geometry.kept_bytes} B in "
        f"{geometry.checkpoint_dtype}"
    )
