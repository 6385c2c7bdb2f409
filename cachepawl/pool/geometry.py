"""Byte arithmetic of the arena: entries, pages, states, frames.  No torch, no SGLang.

    entry  = K and V of one token over all full-attention layers   E bytes
    page   = P entries                                            P*E bytes
    state  = conv and temporal parts of every SSM layer            one slot
    frame  = the smallest multiple of a page that holds one state  S bytes

Token id t starts at byte t*E, page p at byte p*P*E, state slot s at byte s*S, so an
id is a place: nothing translates ids at run time.  Frame 0 is the padding sink that
SGLang writes into for rows without a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Geometry:
    """Everything about sizes that the pool needs to know.

    `state` is None for a model without SSM layers; then a frame is `frame_pages` pages,
    a number chosen only to keep the bookkeeping small.
    """

    kv: KvShape
    state: StateShape | None
    page_tokens: int
    num_frames: int = 0
    frame_pages: int = field(default=64, kw_only=True)

    @property
    def entry_bytes(self) -> int:
        return self.kv.entry_bytes

    @property
    def page_bytes(self) -> int:
        return self.page_tokens * self.entry_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of one state; 0 without SSM layers."""
        return self.state.state_bytes if self.state else 0

    @property
    def frame_bytes(self) -> int:
        if self.state is None:
            return self.frame_pages * self.page_bytes
        return align(self.state.state_bytes, self.page_bytes)

    @property
    def pages_per_frame(self) -> int:
        return self.frame_bytes // self.page_bytes

    @property
    def tokens_per_frame(self) -> int:
        return self.pages_per_frame * self.page_tokens

    @property
    def total_bytes(self) -> int:
        """Bytes of all frames, the sink included."""
        return self.num_frames * self.frame_bytes

    @property
    def usable_frames(self) -> int:
        """Frames without the sink."""
        return self.num_frames - 1

    @property
    def num_tokens(self) -> int:
        """Rows of every KV view, the sink's included."""
        return self.num_frames * self.tokens_per_frame

    @property
    def padding(self) -> float:
        """The share of a frame that a state leaves unused."""
        return 1 - self.state.state_bytes / self.frame_bytes if self.state else 0.0

    def with_budget(self, budget: int) -> Geometry:
        """The same shapes over as many whole frames as `budget` bytes hold."""
        frames = budget // self.frame_bytes
        return Geometry(self.kv, self.state, self.page_tokens, frames, frame_pages=self.frame_pages)

    def pages_of(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_tokens)

    def frames_of_request(self, tokens: int, states: int) -> int:
        """Whole frames that a request of `tokens` tokens and `states` states needs."""
        return states + -(-self.pages_of(tokens) // self.pages_per_frame)


def require_room_for_one(geometry: Geometry, budget: int, states: int) -> None:
    """ConfigError unless one request of two pages and `states` states fits `budget` bytes."""
    needed = 1 + geometry.frames_of_request(2 * geometry.page_tokens, states)
    if geometry.with_budget(budget).num_frames < needed:
        least = needed * geometry.frame_bytes
        # Rounded up, so that the number advised is enough.
        gb = -(-least * 10**6 // 2**30) / 10**6
        raise ConfigError(
            f"the arena of {budget} bytes holds {budget // geometry.frame_bytes} frames of "
            f"{geometry.frame_bytes} bytes; one request needs {needed} (a padding frame, "
            f"{states} states, its KV); give at least {least} bytes "
            f"(--cachepawl-device-gb {gb:.6f}, or raise --mem-fraction-static)"
        )
