"""Eviction policies, one file each, and their names."""

from __future__ import annotations

from cachepawl.policy.base import EvictionPolicy
from cachepawl.policy.joint import Joint
from cachepawl.policy.lru import Lru

POLICIES: dict[str, type[EvictionPolicy]] = {made.name: made for made in (Lru, Joint)}
"""By name, its class: each cache has a policy of its own, which may learn.

Whatever knows policies by name (options, commands, recordings, benchmarks) takes them from here.
"""
DEFAULT = "joint"
"""The policy of a server, and of a replay, that is not told of another."""
