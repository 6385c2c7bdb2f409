"""The one byte buffer of the device tier, and its strided views.  Needs torch.

Every layer's K, V, conv and temporal tensors are views of the whole buffer with a
uniform stride, made once: nothing is bound again when a frame changes kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cachepawl.pool.geometry import Geometry


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

    def __init__(self, geometry: Geometry, budget: int, device: str, dtypes: ArenaDtypes) -> None:
        if budget < geometry.total_bytes:
            raise ValueError(
                f"a budget of {budget} bytes for {geometry.total_bytes} bytes of frames"
            )
        self.geometry = geometry
        self.budget = budget
        self.dtypes = dtypes
        self.raw = torch.zeros(budget, dtype=torch.uint8, device=device)
        self._used = self.raw[: geometry.total_bytes]
        self.frames = self._used.view(geometry.num_frames, geometry.frame_bytes)
        """`(frames, frame_bytes)` uint8: a frame as one contiguous byte range."""
        self.states = self.frames[:, : geometry.state_bytes]
        """`(frames, state_bytes)` uint8: a state as one contiguous byte range."""
        self.pages = self._used.view(-1, geometry.page_bytes)
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
        self.states[dst] = self.states[src]

    def zero_states(self, slots: torch.Tensor) -> None:
        """Clear whole states (slots, int64)."""
        self.states[slots] = 0

    def zero_frames(self, frames: list[int]) -> None:
        """Clear whole frames.  Old state bits read as KV may be NaN."""
        index = torch.tensor(frames, dtype=torch.int64)
        self.frames[index.to(self.raw.device, non_blocking=True)] = 0

    def poison_frame(self, frame: int) -> None:
        """Debug, where nothing runs beside the host: fill a frame with 0xFF, NaN in any float."""
        self.frames[frame] = 0xFF


COPY_BYTES = 32 << 20
"""Most bytes of a page copy that are held outside the arena at once."""


def copy_pages(arena: Arena, src: Sequence[int], dst: Sequence[int]) -> None:
    """Copy whole KV pages, `src[i]` to `dst[i]`; no page is in both, none twice in `dst`.

    On the current stream; the ids travel without a synchronisation.  Each part of at most
    `COPY_BYTES` is gathered and scattered: two launches.
    """
    index = torch.tensor([src, dst], dtype=torch.int64).to(arena.raw.device, non_blocking=True)
    for part in torch.split(index, max(1, COPY_BYTES // arena.geometry.page_bytes), dim=1):
        arena.pages[part[1]] = arena.pages[part[0]]
