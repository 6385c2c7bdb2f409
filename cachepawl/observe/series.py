"""Every number of `stats`, and what it says: the source for `/metrics` and for the manual.

A *total* only grows while the server runs; a *size* is what is there now.  Bytes, tokens, pages
and seconds are in the names.
"""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """One number."""

    name: str
    """In `HybridPrefixCache.stats` and `HostTier.stats`."""
    total: bool
    text: str


_CACHE_SIZES = {
    "frames": "frames of the arena",
    "frames_free": "frames that hold nothing",
    "frames_kv": "frames that hold KV",
    "frames_state": "frames that hold states",
    "pages_in_use": "pages of KV in use",
    "pages_stranded": "free pages in frames with pages in use: no room for a state",
    "tree_nodes": "nodes of the tree",
    "full_evictable_tokens": "tokens of KV that eviction would free",
    "full_protected_tokens": "tokens of KV that are locked",
    "state_evictable": "states that eviction would free",
    "state_protected": "states that are locked",
    "peak_kv_frames": "most frames of KV at once",
    "peak_states": "most frames of states at once",
    "peak_stranded_pages": "most stranded pages at once",
}
_CACHE_TOTALS = {
    "evicted_tokens": "tokens of KV evicted",
    "evicted_states": "states evicted",
    "states_published": "states that entered the tree",
    "states_declined": "states for a depth that had one already",
    "duplicate_pages": "pages that the tree had already",
    "pages_handed": "pages handed out",
    "states_handed": "state slots handed out",
    "kv_to_state": "frames that held KV and were taken for a state",
    "state_to_kv": "frames that held a state and were taken for KV",
    "page_refusals": "times that no page was free before eviction",
    "state_refusals": "times that no state slot was free before eviction",
    "reservations_revoked": "pages kept for a row to grow into, and given to another",
}
"""Of either tier's cache; the host's have `host_` before the name."""
_DEVICE_SIZES = {
    "rows": "requests that hold KV",
    "largest_evacuation": "pages of the largest burst of moved pages",
    "frames_checkpoint": "frames of compressed states, among those of states",
    "checkpoints": "compressed states",
    "checkpoints_open": "free places in frames of compressed states",
    "peak_checkpoints": "most compressed states at once",
}
_DEVICE_TOTALS = {
    "lookups": "requests that ended",
    "prompt_tokens": "their prompt tokens",
    "hit_tokens": "prompt tokens that the device had when they were admitted",
    "checkpoints_skipped": "snapshots not taken for want of room",
    "admissions_refused": "times that a request had to wait for room",
    "prefixes_dropped": "hits given up because they pinned the room that the request needed",
    "prefix_waits": "requests that waited for a state which another one was about to leave",
    "prefix_waits_met": "of those, requests that began with more than they had before",
    "snapshots_at_marks": "snapshots at a mark instead of the prompt's end",
    "marks_lost": "marks without a state: another prompt was cut in the pass",
    "evacuations": "bursts of moved pages",
    "evacuated_pages": "pages moved",
    "evacuated_bytes": "bytes moved within the arena",
    "evacuations_refused": "times that moving would have helped and nothing could be moved",
    "checkpoints_moved": "compressed states packed together",
}
_TIER_SIZES = {
    "host_out_of_use": "1 when a transfer has failed: the device goes on alone",
    "host_writes_wanted": "prefixes that wait to be written",
    "host_writes_under_way": "write-backs that have begun and not ended",
    "host_write_bytes_under_way": "their bytes",
    "host_loads_under_way": "loads that have begun and not ended",
    "host_load_bytes_under_way": "their bytes",
    "host_holds": "requests that wait on the device with what was loaded for them",
    "host_retracted": "retracted requests whose state is to be kept",
}
_TIER_TOTALS = {
    "host_hit_tokens": "prompt tokens that admitted requests had from the host",
    "host_hit_requests": "admitted requests that had some",
    "host_loads": "loads that arrived",
    "host_load_bytes": "bytes copied from the host to the device",
    "host_load_tokens": "tokens of KV in them",
    "host_loads_refused": "loads not begun: the device had no room",
    "host_loads_failed": "loads whose transfer failed, or that a reset dropped",
    "host_rides": "requests that began before their load had arrived",
    "host_writes": "write-backs that arrived",
    "host_write_bytes": "bytes copied from the device to the host",
    "host_writes_skipped": "write-backs not begun: the host had no room",
    "host_writes_failed": "write-backs whose transfer failed, or that a reset dropped",
    "host_evicted_ahead": "what write_back gave up on the device before the room was needed",
    "host_retractions": "requests that stopped and whose state was to be kept",
    "host_retractions_kept": "of those, states that reached the host",
    "host_retractions_lost": "of those, states evicted before they did",
    "host_retractions_resumed": "retracted requests that went on",
    "host_retractions_resumed_tokens": "tokens of the prefixes that they went on from",
    "host_retractions_short": "of those, requests that went on from less than was kept",
    "host_waits": "requests that waited for a load",
    "host_wait_ms": "milliseconds that they waited until it had arrived",
    "host_step_waits": "steps that stopped for transfers: no page left, or a retraction",
    "host_step_wait_ms": "milliseconds of those steps",
}


def _series(found: dict[str, str], *, total: bool, host: bool = False) -> tuple[Series, ...]:
    before, where = ("host_", ", on the host") if host else ("", "")
    return tuple(Series(before + name, total, text + where) for name, text in found.items())


DEVICE = (
    *_series(_CACHE_SIZES | _DEVICE_SIZES, total=False),
    *_series(_CACHE_TOTALS | _DEVICE_TOTALS, total=True),
)
"""Of a server without a host tier."""
HOST = (
    *_series(_TIER_SIZES, total=False),
    *_series(_CACHE_SIZES, total=False, host=True),
    *_series(_TIER_TOTALS, total=True),
    *_series(_CACHE_TOTALS, total=True, host=True),
)
"""What a host tier adds."""
SERIES = {series.name: series for series in (*DEVICE, *HOST)}
OF_BOTH = frozenset(_CACHE_SIZES | _CACHE_TOTALS)
"""Names of a cache's `stats` that mean something for either tier."""
