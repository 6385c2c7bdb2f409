"""Which of the ways a request's states reach the tree by."""

from __future__ import annotations

from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl_launch.compressed_states import CompressedRowPool, CompressedStates
from cachepawl_launch.states import NoStates, StateHandover, plain_handover


def make_handover(cache: HybridPrefixCache, pool: Any, *, extra_buffer: bool) -> StateHandover:
    """The way that fits the model, the server's flags and how states are kept."""
    if cache.geometry.state is None:
        return NoStates()
    plain = plain_handover(cache, pool, extra_buffer=extra_buffer)
    if isinstance(pool, CompressedRowPool):
        return CompressedStates(cache, pool, plain)
    return plain
