"""Compresses states into checkpoints and expands them, inside one arena.  Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch

from cachepawl.errors import ConfigError
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.checkpoint_shape import FLAG
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl.pool.geometry import Geometry
from cachepawl.pool.movement import States
from cachepawl_kernels import Format, Part, StateLayout
from cachepawl_kernels.fork.layout import packed_layout

FORMATS = {
    torch.float32: Format.FP32,
    torch.bfloat16: Format.BF16,
    torch.float16: Format.FP16,
}
CODES = {"int8": Format.INT8, "fp8": Format.E4M3}
TRIAL_ELEMENTS = 400
"""Of a part in a trial: three blocks of a scale each, and a rest."""


class Forms(NamedTuple):
    """A state's two forms."""

    whole: StateLayout
    coded: StateLayout

    def pair(self, kind: Kind) -> tuple[StateLayout, StateLayout]:
        """The forms of destination and source."""
        return (
            self.whole if kind is Kind.EXPAND else self.coded,
            self.whole if kind is Kind.COMPRESS else self.coded,
        )

    def small(self) -> Forms:
        """The same conversions of few elements: a trial of them is a trial of these."""
        layouts = []
        for layout in self:
            formats = tuple(part.format for part in layout.parts)
            layouts.append(packed_layout(formats, (TRIAL_ELEMENTS,) * len(formats)))
        return Forms(*layouts)


def forms_of(geometry: Geometry, dtypes: ArenaDtypes) -> Forms:
    """ConfigError for a geometry without compressed states, or for other element types."""
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
    return Forms(
        StateLayout(geometry.frame_bytes, (*conv, whole)),
        StateLayout(shape.nbytes, (*conv, coded)),
    )


class StateCodec:
    """Both forms of a state, by where they lie.  Rounding and scales: docs/kernels.md.

    Whoever moves the arena's bytes converts them, too.
    """

    def __init__(self, arena: Arena) -> None:
        """ConfigError as `forms_of`."""
        self.forms = forms_of(arena.geometry, arena.dtypes)
        self._raw = arena.raw
        self._movement = arena.movement
        self._frame_bytes = arena.geometry.frame_bytes
        self._per_frame = arena.geometry.checkpoints_per_frame

    def slot_starts(self, slots: Sequence[int]) -> torch.Tensor:
        """Bytes from the arena's start, `(n,)` int64 on the host."""
        return torch.tensor(slots, dtype=torch.int64) * self._frame_bytes

    def checkpoint_starts(self, checkpoints: Sequence[int]) -> torch.Tensor:
        """The same of checkpoints."""
        ids = torch.tensor(checkpoints, dtype=torch.int64)
        frame = ids.div(self._per_frame, rounding_mode="floor")
        return frame * self._frame_bytes + ids % self._per_frame * self.forms.coded.stride

    def copy(self, batch: Batch) -> None:
        """On the current stream, without waiting; by a kernel, in one launch."""
        compress, expand = batch.kind is Kind.COMPRESS, batch.kind is Kind.EXPAND
        came = (
            self.slot_starts(batch.sources) if compress else self.checkpoint_starts(batch.sources)
        )
        to = self.slot_starts(batch.targets) if expand else self.checkpoint_starts(batch.targets)
        dst, src = self.forms.pair(batch.kind)
        self._movement.fork_states(self._raw, States(dst, to), States(src, came))
