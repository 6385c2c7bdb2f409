"""Byte arithmetic of the arena: entries, pages, states, frames.  No torch, no SGLang.

    entry  = K and V of one token over all full-attention layers   E bytes
    page   = P entries                                            P*E bytes
    state  = conv and temporal parts of every SSM layer            one slot
    frame  = the smallest multiple of a page that holds one state  S bytes
    checkpoint = a state kept for reuse, compressed if wanted      C bytes, floor(S/C) a frame

Token id t starts at byte t*E, page p at byte p*P*E, state slot s at byte s*S, so an
id is a place: nothing translates ids at run time.  Frame 0 is the padding sink that
SGLang writes into for rows without a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cachepawl.errors import ConfigError
from cachepawl.pool.checkpoint_shape import CheckpointShape
from cachepawl.pool.shapes import ENTRY_ALIGN, PART_ALIGN, KvShape, StateShape, align

__all__ = [
    "ENTRY_ALIGN",
    "PART_ALIGN",
    "Geometry",
    "KvShape",
    "StateShape",
    "align",
    "require_room_for_one",
]


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
    checkpoint_dtype: str | None = field(default=None, kw_only=True)
    """How states kept for reuse are compressed (`CheckpointShape`); None keeps them as they are."""

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
    def checkpoint(self) -> CheckpointShape | None:
        """The compressed form of a state that is kept for reuse, if there is one."""
        if self.checkpoint_dtype is None:
            return None
        return CheckpointShape.of(self.state, self.checkpoint_dtype)

    @property
    def checkpoints_per_frame(self) -> int:
        """Compressed states that a frame holds; 0 where states are kept as they are."""
        shape = self.checkpoint
        return 0 if shape is None else shape.per_frame(self.frame_bytes)

    @property
    def kept_bytes(self) -> int:
        """Bytes of a state that is kept for reuse: compressed, where it is."""
        shape = self.checkpoint
        return self.state_bytes if shape is None else shape.nbytes

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
        return replace(self, num_frames=budget // self.frame_bytes)

    def with_checkpoints(self, dtype: str | None) -> Geometry:
        """The same shapes, states kept for reuse compressed to `dtype`; None or "auto": as is.

        ConfigError for another dtype than int8 and fp8, and for a model that gains nothing.
        """
        if dtype in (None, "auto"):
            return replace(self, checkpoint_dtype=None)
        shape = CheckpointShape.of(self.state, str(dtype))
        shape.require_gain(self.frame_bytes)
        return replace(self, checkpoint_dtype=dtype)

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
