"""A state that is kept for reuse, compressed: which bytes it has, and how many fit a frame.

    state       | conv parts | temporal, fp32 .............................. |   one a frame
    checkpoint  | conv parts | temporal, 1 byte each ... | scales, fp32 |        floor(S/C) a frame

Conv parts stay bit for bit as they are: they are small, and what the next tokens' convolution
reads directly.  The temporal part keeps one byte an element, and one float32 scale for every
`SCALE_BLOCK` elements in a row: for a state of 128 columns, one a layer, head and row.

No torch.  The kernels' own layout (`cachepawl_kernels.fork`) agrees with it to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from cachepawl.errors import ConfigError
from cachepawl.pool.shapes import PART_ALIGN, StateShape, align

SCALE_BLOCK = 128
"""Elements that share a scale."""
SCALE_BYTES = 4
UNIT = 16
"""Parts are multiples of so many elements, for 16-byte accesses in every format."""
CHECKPOINT_DTYPES = ("int8", "fp8")
FLAG = "--cachepawl-checkpoint-dtype"


@dataclass(frozen=True)
class CheckpointShape:
    """Bytes of one compressed state.  Make it with `of`, which refuses what cannot be."""

    state: StateShape
    dtype: str

    @classmethod
    def of(cls, state: StateShape | None, dtype: str) -> CheckpointShape:
        """ConfigError, by the flag's name, for a dtype or a model that cannot be compressed."""
        if dtype not in CHECKPOINT_DTYPES:
            raise ConfigError(f"{FLAG} {dtype}: not one of auto, {', '.join(CHECKPOINT_DTYPES)}")
        if state is None:
            raise ConfigError(f"{FLAG} {dtype}: this model has no SSM states; drop the flag")
        if not state.temporal_row:
            raise ConfigError(
                f"{FLAG} {dtype}: this model keeps short convolutions only, no recurrent part to "
                f"compress; drop the flag"
            )
        sizes = [state.layers * prod(shape) for shape in state.conv_shapes]
        for size in (*sizes, state.layers * prod(state.temporal_shape)):
            if size % UNIT:
                raise ConfigError(
                    f"{FLAG} {dtype}: a part of the state has {size} elements, not a multiple of "
                    f"{UNIT}; drop the flag"
                )
        return cls(state, dtype)

    @property
    def elements(self) -> int:
        """Of the temporal part, all layers."""
        return self.state.layers * prod(self.state.temporal_shape)

    @property
    def scales_offset(self) -> int:
        """Where the scales start, in bytes from the checkpoint's start."""
        return self.state.temporal_offset + self.elements

    @property
    def scale_bytes(self) -> int:
        """Bytes of the scales, padding behind them included."""
        return align(-(-self.elements // SCALE_BLOCK) * SCALE_BYTES, PART_ALIGN)

    @property
    def nbytes(self) -> int:
        """Bytes of one checkpoint: C."""
        return align(self.scales_offset + self.scale_bytes, PART_ALIGN)

    def per_frame(self, frame_bytes: int) -> int:
        """Checkpoints that a frame holds."""
        return frame_bytes // self.nbytes

    def require_gain(self, frame_bytes: int) -> None:
        """ConfigError unless a frame holds two at least."""
        if self.per_frame(frame_bytes) < 2:
            raise ConfigError(
                f"{FLAG} {self.dtype}: a compressed state has {self.nbytes} bytes, so a frame of "
                f"{frame_bytes} bytes holds one, as it does uncompressed "
                f"({self.state.temporal_itemsize} bytes an element); drop the flag, or keep states "
                f"in float32 (--mamba-ssm-dtype float32)"
            )
