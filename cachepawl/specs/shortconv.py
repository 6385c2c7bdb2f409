"""Gated short convolution (LFM2): a convolution's last columns are all there is to keep.

Source: LFM2 technical report, arXiv:2511.23404.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.parallel import shard
from cachepawl.specs.parts import NO_TEMPORAL, StateParts, conv_flops


@dataclass(frozen=True)
class ShortConv:
    """A depthwise convolution over `width` channels between two gates."""

    width: int
    kernel: int

    def parts(self, tp: int) -> StateParts:
        """One rank's channels; no recurrence."""
        width = shard("short-convolution channels", self.width, tp)
        return StateParts(((width, self.kernel - 1),), NO_TEMPORAL)

    @property
    def scan_flops(self) -> int:
        """The convolution and two gates of one multiply a channel."""
        return conv_flops(self.width, self.kernel) + 2 * self.width
