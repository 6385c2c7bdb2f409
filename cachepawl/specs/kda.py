"""Kimi delta attention: a gated delta net whose decay is a vector, one value a key channel.

Source: Kimi Linear, arXiv:2510.26692.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import shard
from cachepawl.specs.parts import StateParts, conv_flops


@dataclass(frozen=True)
class KimiDelta:
    """`heads` heads; q, k and v all have `head_dim`, so a state is square."""

    heads: int
    head_dim: int
    kernel: int

    @property
    def channels(self) -> int:
        """Channels of the convolution over q, k and v."""
        return 3 * self.heads * self.head_dim

    def parts(self, tp: int) -> StateParts:
        """One rank's heads.  SGLang stores this convolution with the columns first."""
        heads = shard("KDA heads", self.heads, tp)
        channels = 3 * heads * self.head_dim
        return StateParts(((self.kernel - 1, channels),), (heads, self.head_dim, self.head_dim))

    @property
    def scan_flops(self) -> int:
        """As a gated delta net: 7 FLOPs an element of state."""
        return conv_flops(self.channels, self.kernel) + 7 * self.heads * self.head_dim**2
