"""Compresses states into checkpoints and expands them, inside one arena.  Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from cachepawl.errors import ConfigError
from cachepawl.pool.arena import Arena
from cachepawl.pool.checkpoint_shape import FLAG
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl_kernels import Format, Part, StateLayout, fork_states_at
from cachepawl_kernels.fork.reference import fork_states_at_reference

FORMATS = {
    torch.float32: Format.FP32,
    torch.bfloat16: Format.BF16,
    torch.float16: Format.FP16,
}
CODES = {"int8": Format.INT8, "fp8": Format.E4M3}


class StateCodec:
    """Both forms of a state, by where they lie.  Rounding and scales: docs/kernels.md."""

    def __init__(self, arena: Arena) -> None:
        """ConfigError for an arena whose states are not compressed, or of other element types."""
        geometry, dtypes = arena.geometry, arena.dtypes
        shape = geometry.checkpoint
        if shape is None:
            raise ConfigError("the arena's states are not compressed")
        for dtype in (dtypes.conv, dtypes.temporal):
            if dtype not in FORMATS:
                raise ConfigError(
                    f"{FLAG} {shape.dtype}: states of {dtype} cannot be compressed; drop the flag, "
                    f"or keep them in float32, bfloat16 or float16"
                )
        assert dtypes.conv is not None
        assert dtypes.temporal is not None
        state = shape.state
        conv = tuple(
            Part(state.conv_offset(i), state.layers * prod(one), FORMATS[dtypes.conv])
            for i, one in enumerate(state.conv_shapes)
        )
        at, elements = state.temporal_offset, shape.elements
        whole = Part(at, elements, FORMATS[dtypes.temporal])
        coded = Part(at, elements, CODES[shape.dtype], shape.scales_offset)
        self._raw = arena.raw
        self._frame_bytes = geometry.frame_bytes
        self._per_frame = geometry.checkpoints_per_frame
        self.whole = StateLayout(geometry.frame_bytes, (*conv, whole))
        self.coded = StateLayout(shape.nbytes, (*conv, coded))

    def slot_starts(self, slots: Sequence[int]) -> torch.Tensor:
        """Bytes from the arena's start, `(n,)` int64 on the host."""
        return torch.tensor(slots, dtype=torch.int64) * self._frame_bytes

    def checkpoint_starts(self, checkpoints: Sequence[int]) -> torch.Tensor:
        """The same of checkpoints."""
        ids = torch.tensor(checkpoints, dtype=torch.int64)
        frame = ids.div(self._per_frame, rounding_mode="floor")
        return frame * self._frame_bytes + ids % self._per_frame * self.coded.stride

    def copy(self, batch: Batch) -> None:
        """One launch on the current stream, without waiting; plain torch where there is no GPU."""
        compress, expand = batch.kind is Kind.COMPRESS, batch.kind is Kind.EXPAND
        src, dst = (self.whole if flag else self.coded for flag in (compress, expand))
        came = (
            self.slot_starts(batch.sources) if compress else self.checkpoint_starts(batch.sources)
        )
        to = self.slot_starts(batch.targets) if expand else self.checkpoint_starts(batch.targets)
        fork = fork_states_at if self._raw.is_cuda else fork_states_at_reference
        fork(self._raw, dst, to, self._raw, src, came)
