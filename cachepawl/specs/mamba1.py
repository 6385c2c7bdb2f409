"""Mamba-1: a selective scan with a full-rank state per channel.

Source: arXiv:2312.00752.  The convolution runs over the inner channels alone, since B
and C are projected after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import shard
from cachepawl.specs.parts import StateParts, conv_flops


@dataclass(frozen=True)
class Mamba1:
    """`inner` channels, each with a state of `state` elements."""

    inner: int
    state: int
    kernel: int

    def parts(self, tp: int) -> StateParts:
        """One rank's share of the channels, as SGLang stores it: heads of width 1."""
        inner = shard("Mamba-1 channels", self.inner, tp)
        return StateParts(((inner, self.kernel - 1),), (inner, 1, self.state))

    @property
    def scan_flops(self) -> int:
        """h = a*h + (dt*x)*B, y = C.h: 5 FLOPs an element of state."""
        return conv_flops(self.inner, self.kernel) + 5 * self.inner * self.state
