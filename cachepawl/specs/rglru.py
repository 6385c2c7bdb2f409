"""RG-LRU: a real-gated linear recurrence with one element of state a channel.

Source: Griffin, arXiv:2402.19427, equations 1-4.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import shard
from cachepawl.specs.parts import StateParts, conv_flops


@dataclass(frozen=True)
class RgLru:
    """`width` channels; the gates are block-diagonal over `heads` blocks."""

    width: int
    heads: int
    kernel: int

    def parts(self, tp: int) -> StateParts:
        """One rank's channels.  Gate blocks stay whole, so the heads must divide."""
        channels = shard("RG-LRU heads", self.heads, tp) * (self.width // self.heads)
        return StateParts(((channels, self.kernel - 1),), (channels,))

    @property
    def scan_flops(self) -> int:
        """h = a*h + sqrt(1 - a^2) * (i * x): 6 FLOPs a channel, roots and gates aside."""
        return conv_flops(self.width, self.kernel) + 6 * self.width
