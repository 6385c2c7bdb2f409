"""The cache as text and numbers, for `/server_info`, logs and the demo."""

from __future__ import annotations

from typing import Any

from cachepawl.observe.frame_map import draw_frames
from cachepawl.offload.tier import HostTier
from cachepawl.pool.movement import Movement
from cachepawl_launch.adapter import CachepawlPrefixCache

RECENT = 64
MAP_FRAMES = 512


def describe_cache(tree_cache: CachepawlPrefixCache, movement: Movement) -> dict[str, Any]:
    """Counters, the latest requests with their miss reasons, tree and arena as text."""
    cache, pool = tree_cache.cache, tree_cache.req_to_token_pool
    allocator = tree_cache.token_to_kv_pool_allocator
    slots = getattr(pool, "mamba_allocator", None)
    return {
        "stats": tree_cache.stats(),
        "missed_tokens": dict(cache.counters.missed),
        "requests": tree_cache.lookups.recent(RECENT),
        "tree": cache.tree.render(),
        "arena": draw_frames(cache.frames, MAP_FRAMES),
        "device_reads": allocator.device_reads + (slots.ids.device_reads if slots else 0),
        "marks_refused": tree_cache.marks.refused,
        "movement": {
            "name": movement.name,
            "calls": dict(movement.calls),
            "fallbacks": movement.fallbacks,
        },
        "longest_request": cache.room_for_one_request(),
    }


def describe_host(tier: HostTier) -> dict[str, Any]:
    """The host tier: its policy, why it is out of use, tree and arena as text."""
    return {
        "write_policy": tier.writing.name,
        "failure": tier.failure,
        "tree": tier.host.tree.render(),
        "arena": draw_frames(tier.host.frames, MAP_FRAMES),
    }
