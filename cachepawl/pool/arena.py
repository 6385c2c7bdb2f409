"""The one byte buffer of the device tier, and its strided views.  Needs torch.

Every layer's K, V, conv and temporal tensors are views of the whole buffer with a
uniform stride, made once: nothing is bound again when a frame changes kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from cachepawl.pool.geometry import Geometry
from cachepawl.pool.movement import Movement, TorchMovement, Units
from cachepawl.pool.moves import Move


@dataclass(frozen=True)
class ArenaDtypes:
    """Element types of the views; their sizes must be the geometry's itemsizes."""

    kv: torch.dtype
    conv: torch.dtype | None = None
    temporal: torch.dtype | None = None


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


class Arena:
    """`budget` bytes on `device`; the geometry's frames lie at its start.

    The bytes past the last whole frame are reserved and unused, so what is reserved
    is the budget to the byte.
    """

    def __init__(
        self,
        geometry: Geometry,
        budget: int,
        device: str,
        dtypes: ArenaDtypes,
        movement: Movement | None = None,
    ) -> None:
        """`movement` copies and clears; None is plain torch."""
        if budget < geometry.total_bytes:
            raise ValueError(
                f"a budget of {budget} bytes for {geometry.total_bytes} bytes of frames"
            )
        self.geometry = geometry
        self.budget = budget
        self.dtypes = dtypes
        self.raw = torch.zeros(budget, dtype=torch.uint8, device=device)
        self.movement: Movement = TorchMovement() if movement is None else movement
        self._used = self.raw[: geometry.total_bytes]
        frame, page = geometry.frame_bytes, geometry.page_bytes
        self._frame_units = Units(self._used, frame, frame)
        self._state_units = Units(self._used, frame, geometry.state_bytes)
        self._page_units = Units(self._used, page, page)
        self.frames = self._frame_units.rows
        """`(frames, frame_bytes)` uint8: a frame as one contiguous byte range."""
        self.states = self._state_units.rows
        """`(frames, state_bytes)` uint8: a state as one contiguous byte range."""
        self.pages = self._page_units.rows
        """`(pages, page_bytes)` uint8: a KV page as one contiguous byte range."""

    def k_view(self, layer: int) -> torch.Tensor:
        """`(tokens, heads, head_dim)`, token stride one entry."""
        kv = self.geometry.kv
        return self._kv_view(kv.k_offset(layer), kv.head_dim)

    def v_view(self, layer: int) -> torch.Tensor:
        """`(tokens, heads, v_head_dim)`, token stride one entry."""
        kv = self.geometry.kv
        return self._kv_view(kv.v_offset(layer), kv.v_head_dim)

    def _kv_view(self, offset: int, dim: int) -> torch.Tensor:
        g, item = self.geometry, self.dtypes.kv.itemsize
        shape = (g.num_tokens, g.kv.heads, dim)
        stride = (g.entry_bytes // item, *_contiguous(shape[1:]))
        return torch.as_strided(self._used.view(self.dtypes.kv), shape, stride, offset // item)

    def conv_view(self, part: int) -> torch.Tensor:
        """`(layers, slots, *conv shape)` of one conv part, slot stride one frame."""
        state = self.geometry.state
        assert state is not None
        assert self.dtypes.conv is not None
        return self._state_view(
            self.dtypes.conv, state.conv_offset(part), state.conv_row(part), state.conv_shapes[part]
        )

    def temporal_view(self) -> torch.Tensor:
        """`(layers, slots, *temporal shape)`, slot stride one frame."""
        state = self.geometry.state
        assert state is not None
        assert self.dtypes.temporal is not None
        return self._state_view(
            self.dtypes.temporal, state.temporal_offset, state.temporal_row, state.temporal_shape
        )

    def _state_view(
        self, dtype: torch.dtype, offset: int, row_bytes: int, shape: tuple[int, ...]
    ) -> torch.Tensor:
        g, item = self.geometry, dtype.itemsize
        assert g.state is not None
        size = (g.state.layers, g.num_frames, *shape)
        stride = (row_bytes // item, g.frame_bytes // item, *_contiguous(shape))
        return torch.as_strided(self._used.view(dtype), size, stride, offset // item)

    def copy_states(self, src: torch.Tensor, dst: torch.Tensor) -> None:
        """Copy whole states, `src[i]` to `dst[i]` (slots, int64); the two must not overlap."""
        self.movement.copy_units(self._state_units, src, dst)

    def zero_states(self, slots: torch.Tensor) -> None:
        """Clear whole states (slots, int64)."""
        self.movement.zero_units(self._state_units, slots)

    def zero_frames(self, frames: Iterable[int]) -> None:
        """Clear whole frames.  Old state bits read as KV may be NaN."""
        self.movement.zero_listed(self._frame_units, sorted(set(frames)))

    def move_pages(self, moves: Iterable[Move]) -> None:
        """Copy whole KV pages; no page is source and target, none is a target twice."""
        self.movement.move_runs(self._page_units, moves)

    def poison_frame(self, frame: int) -> None:
        """Debug, where nothing runs beside the host: fill a frame with 0xFF, NaN in any float."""
        self.frames[frame] = 0xFF
