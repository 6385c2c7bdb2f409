"""What two tiers have of a key together.

            0 ------ device.usable ------ device.kv_len
            0 ----------------------------------- usable ------ host.kv_len
                                          ^^^^^^^^^^^^^^ KV to load, and the state at its end

Both trees are closed under prefixes: a state has all of its KV in its own tier.  So the
deepest state of either within the limit is what can be used, and what the device lacks of
the KV below it is on the host.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.cache import HybridPrefixCache
from cachepawl.tree import Match, Node
from cachepawl.types import Key


class TierMatch(NamedTuple):
    """Lengths in tokens, multiples of the page."""

    device: Match
    """What can be used now."""
    usable_len: int
    """What could be used after a load; `device.usable_len` where the host adds nothing."""
    host_node: Node | None
    """Where it is on the host; None where the host adds nothing."""
    load_tokens: int
    """Tokens of KV to load."""
    load_bytes: int
    """Of that KV and the state."""
    kv_len: int
    """Tokens of KV that one of the tiers has; where they pass `usable_len` a state is missing."""


def alone(device: Match, kv_len: int = 0) -> TierMatch:
    """The host adds nothing to use; it has KV of `kv_len` tokens."""
    return TierMatch(device, device.usable_len, None, 0, 0, max(kv_len, device.kv_len))


def add_host(
    device: Match, host: HybridPrefixCache, key: Key, limit: int | None, least_gain: int
) -> TierMatch:
    """What the host adds to a match of the device, if `least_gain` tokens or more.

    Changes the host's recency only.  Cost: the path in the host's tree.
    """
    found = host.match(key, limit)
    depth = found.usable_len
    if depth < device.usable_len + least_gain:
        return alone(device, found.kv_len)
    geometry = host.geometry
    tokens = max(0, depth - device.kv_len)
    nbytes = tokens * geometry.entry_bytes + geometry.state_bytes
    kv_len = max(found.kv_len, device.kv_len)
    return TierMatch(device, depth, found.node, tokens, nbytes, kv_len)
