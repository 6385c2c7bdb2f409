"""Eviction policies, one file each, and their names."""

from __future__ import annotations

from collections.abc import Callable

from cachepawl.policy.base import EvictionPolicy
from cachepawl.policy.joint import Joint
from cachepawl.policy.lru import Lru

POLICIES: dict[str, Callable[[], EvictionPolicy]] = {"lru": Lru, "joint": Joint}
"""By name, a maker: each cache has a policy of its own, which may learn."""
DEFAULT = "joint"
"""The policy of a server, and of a replay, that is not told of another."""
