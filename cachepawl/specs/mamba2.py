"""Mamba-2 (SSD): heads with one decay each; B and C are shared within a group.

Source: arXiv:2405.21060.  The convolution runs over x, B and C together, so it has
`inner + 2 * groups * state` channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import groups_of_rank, shard
from cachepawl.specs.parts import StateParts, conv_flops


@dataclass(frozen=True)
class Mamba2:
    """`heads` heads of `head_dim`, each with a state of `head_dim x state` elements."""

    heads: int
    head_dim: int
    groups: int
    state: int
    kernel: int

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def channels(self) -> int:
        """Channels of the convolution, over all ranks at tp 1."""
        return self.inner + 2 * self.groups * self.state

    def parts(self, tp: int) -> StateParts:
        """One rank's heads; a single group is copied to every rank."""
        heads = shard("Mamba-2 heads", self.heads, tp)
        groups = groups_of_rank(self.groups, tp)
        channels = heads * self.head_dim + 2 * groups * self.state
        return StateParts(((channels, self.kernel - 1),), (heads, self.head_dim, self.state))

    @property
    def scan_flops(self) -> int:
        """As Mamba-1, counted in recurrent form: 5 FLOPs an element of state."""
        return conv_flops(self.channels, self.kernel) + 5 * self.inner * self.state
