"""`joint`: learn how soon things are used again, and weigh KV against states by the byte."""

from __future__ import annotations

from cachepawl.policy.joint.policy import Joint

__all__ = ["Joint"]
