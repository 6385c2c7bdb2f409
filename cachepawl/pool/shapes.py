"""Bytes of one token's KV and of one state.  No torch, no SGLang."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from cachepawl.errors import ConfigError

PART_ALIGN = 16
"""Bytes: 16-byte loads need every row to start at a multiple of this."""
ENTRY_ALIGN = 32
"""Bytes: an entry is padded to a multiple of this."""


def align(n: int, unit: int) -> int:
    """The smallest multiple of `unit` that is at least `n`."""
    return -(-n // unit) * unit


@dataclass(frozen=True)
class KvShape:
    """K and V of one token, laid out `[K0 | V0 | K1 | V1 | ...]` over the attention layers.

    `heads` are this rank's KV heads; `itemsize` is bytes per element.
    """

    layers: int
    heads: int
    head_dim: int
    v_head_dim: int
    itemsize: int

    def __post_init__(self) -> None:
        for name, row in (("K", self.k_row), ("V", self.v_row)):
            if row % PART_ALIGN:
                raise ConfigError(
                    f"a {name} row is {row} bytes ({self.heads} heads x head_dim x "
                    f"{self.itemsize} B), not a multiple of {PART_ALIGN}; use fewer "
                    f"tensor-parallel ranks or a wider --kv-cache-dtype"
                )

    @property
    def k_row(self) -> int:
        """Bytes of one layer's K."""
        return self.heads * self.head_dim * self.itemsize

    @property
    def v_row(self) -> int:
        """Bytes of one layer's V."""
        return self.heads * self.v_head_dim * self.itemsize

    @property
    def entry_bytes(self) -> int:
        """Bytes of one token over all attention layers, padding included."""
        return align(self.layers * (self.k_row + self.v_row), ENTRY_ALIGN)

    def k_offset(self, layer: int) -> int:
        """Byte offset of a layer's K inside an entry."""
        return layer * (self.k_row + self.v_row)

    def v_offset(self, layer: int) -> int:
        """Byte offset of a layer's V inside an entry."""
        return self.k_offset(layer) + self.k_row


@dataclass(frozen=True)
class StateShape:
    """One state: per part all SSM layers side by side, conv parts first.

    `conv_shapes` are the per-layer shapes of the conv parts, `temporal_shape` that of
    the recurrent part (this rank's share).  A part may be empty (a short convolution
    has no recurrent part worth the name).
    """

    layers: int
    conv_shapes: tuple[tuple[int, ...], ...]
    conv_itemsize: int
    temporal_shape: tuple[int, ...]
    temporal_itemsize: int

    def conv_row(self, part: int) -> int:
        """Bytes of one layer of a conv part."""
        return prod(self.conv_shapes[part]) * self.conv_itemsize

    @property
    def temporal_row(self) -> int:
        """Bytes of one layer of the temporal part."""
        return prod(self.temporal_shape) * self.temporal_itemsize

    def conv_offset(self, part: int) -> int:
        """Byte offset of a conv part inside a state."""
        offset = 0
        for earlier in range(part):
            offset = align(offset + self.layers * self.conv_row(earlier), PART_ALIGN)
        return offset

    @property
    def temporal_offset(self) -> int:
        """Byte offset of the temporal part inside a state."""
        return self.conv_offset(len(self.conv_shapes))

    @property
    def state_bytes(self) -> int:
        """Bytes of one state, padding between the parts included."""
        return align(self.temporal_offset + self.layers * self.temporal_row, PART_ALIGN)
