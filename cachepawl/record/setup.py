"""What the cache was built from, as the first line of every part says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cachepawl import __version__
from cachepawl.cache import HybridPrefixCache
from cachepawl.offload.tier import HostTier
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry
from cachepawl.record.verbs import FORMAT, VERSION

Plain = str | int | float | bool | None


def setup_of(
    cache: HybridPrefixCache, serving: Mapping[str, Plain], tier: HostTier | None = None
) -> dict[str, Any]:
    """All that a fresh cache, and host tier, need to be like these; JSON-able.

    `serving` is how it is driven: model, chunk size and the like.
    """
    frames = cache.frames
    return {
        "format": FORMAT,
        "version": VERSION,
        "cachepawl": __version__,
        "geometry": _shape(cache.geometry),
        "states_per_request": cache.states_per_request,
        "page_cap": _limit(frames.page_cap),
        "state_cap": _limit(frames.state_cap),
        "policy": cache.policy.name,
        "serving": dict(serving),
        **({} if tier is None else {"host": _host(tier)}),
    }


def _host(tier: HostTier) -> dict[str, Any]:
    """Only where there is one."""
    return {
        "frames": tier.host.geometry.num_frames,
        "policy": tier.host.policy.name,
        "writing": tier.writing.name,
        "options": asdict(tier.options),
    }


def _shape(geometry: Geometry) -> dict[str, Any]:
    """A dtype of checkpoints only where there is one."""
    shape = asdict(geometry)
    if geometry.checkpoint_dtype is None:
        del shape["checkpoint_dtype"]
    return shape


def _limit(cap: int) -> int | None:
    return None if cap == UNLIMITED else cap
