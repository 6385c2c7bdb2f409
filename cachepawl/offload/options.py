"""Quotas of the host tier, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TierOptions:
    """Limits; bytes unless the name says otherwise."""

    write_bytes: int = 1 << 30
    """Write-backs under way at most; a larger single one goes alone."""
    write_bytes_beside_loads: int = 1 << 28
    """The same while loads are under way."""
    headroom_frames: int = 2
    """Frames' worth of KV that must stay obtainable on the device when a write-back pins more;
    half of a device that has less than twice as many."""
    free_frames: int = 2
    """What a policy that writes before eviction keeps free on the device at least; more where
    allocations take more at a time."""
    least_gain: int = 1
    """Tokens that a load must save at least."""


@dataclass
class TierCounters:
    """Totals since the start."""

    writes: int = 0
    write_bytes: int = 0
    writes_skipped: int = 0
    """Host full."""
    writes_failed: int = 0
    loads: int = 0
    load_bytes: int = 0
    load_tokens: int = 0
    """Prompt tokens that the device alone could not serve."""
    loads_refused: int = 0
    """No room on the device."""
    loads_failed: int = 0
    rides: int = 0
    """Requests that began before their load had ended."""
    evicted_ahead: int = 0
    """Given up by the device before anybody needed the room."""
    retractions: int = 0
    retractions_kept: int = 0
    """Safe on the host until the request goes on."""
    retractions_lost: int = 0
    """Evicted from the device before the copy was there."""
    retractions_resumed: int = 0
    retractions_resumed_tokens: int = 0
    """Of the prefixes that they went on from."""
    retractions_short: int = 0
    """Resumed from less than was safe on the host."""
