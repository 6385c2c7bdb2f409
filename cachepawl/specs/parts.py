"""What one layer keeps of a sequence that does not grow: convolution and recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

from cachepawl.specs.dtypes import ElementType

NO_TEMPORAL = (0,)
"""The temporal shape of a layer without a recurrence."""


@dataclass(frozen=True)
class StateParts:
    """Shapes of one layer's state on one rank, in elements.

    A convolution with kernel K keeps the last K-1 columns of every channel: the next
    output needs no more.  Shapes are laid out as SGLang lays them out.
    """

    conv: tuple[tuple[int, int], ...]
    temporal: tuple[int, ...]

    @property
    def conv_elements(self) -> int:
        return sum(prod(shape) for shape in self.conv)

    @property
    def temporal_elements(self) -> int:
        return prod(self.temporal)

    def conv_bytes(self, dtype: ElementType) -> int:
        """Bytes of the convolution parts; a scaled type's blocks end with each part."""
        return sum(dtype.bytes_of(prod(shape)) for shape in self.conv)

    def temporal_bytes(self, dtype: ElementType) -> int:
        """Bytes of the recurrent part."""
        return dtype.bytes_of(self.temporal_elements)


class StateLayer(Protocol):
    """A layer whose memory of the past has a fixed size."""

    def parts(self, tp: int) -> StateParts:
        """One rank's state; ConfigError when `tp` ranks cannot share the layer."""
        ...

    @property
    def scan_flops(self) -> int:
        """FLOPs a token costs besides the weights: convolution and recurrence."""
        ...


def conv_flops(channels: int, kernel: int) -> int:
    """FLOPs of one token through a depthwise convolution: a multiply and an add a tap."""
    return 2 * channels * kernel
