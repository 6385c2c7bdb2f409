"""Gated delta net: a state matrix per value head, corrected by what it already recalls.

Source: arXiv:2412.06464.  One convolution runs over q, k and v side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import shard
from cachepawl.specs.parts import StateParts, conv_flops


@dataclass(frozen=True)
class GatedDelta:
    """`value_heads` states of `value_dim x key_dim`; q and k have `key_heads` heads."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def channels(self) -> int:
        """Channels of the convolution over q, k and v."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    def parts(self, tp: int) -> StateParts:
        """One rank's heads; both kinds of heads must divide."""
        keys = shard("linear-attention key heads", self.key_heads, tp)
        values = shard("linear-attention value heads", self.value_heads, tp)
        channels = 2 * keys * self.key_dim + values * self.value_dim
        return StateParts(((channels, self.kernel - 1),), (values, self.value_dim, self.key_dim))

    @property
    def scan_flops(self) -> int:
        """S = a*S + (v - S.k) k^T, o = S.q: 7 FLOPs an element (1 decay, 2 each for the rest)."""
        state = self.value_heads * self.value_dim * self.key_dim
        return conv_flops(self.channels, self.kernel) + 7 * state
