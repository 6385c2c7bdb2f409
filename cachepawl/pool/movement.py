"""Who moves the arena's bytes: a seam with one implementation in plain torch.  Needs torch.

The arena says what is copied and cleared; a `Movement` does it, on the current stream, in one
batch.  `TorchMovement` runs anywhere and is what others are compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch

from cachepawl.pool.moves import Move
from cachepawl.pool.uploads import to_device

if TYPE_CHECKING:
    from cachepawl_kernels import StateLayout


class Units(NamedTuple):
    """`(bytes,)` uint8 as units side by side: frames, states or pages."""

    raw: torch.Tensor
    stride: int
    """Bytes from a unit to the next."""
    nbytes: int
    """Bytes of a unit, at most its stride."""

    @property
    def rows(self) -> torch.Tensor:
        """`(units, nbytes)`: a unit as one contiguous byte range."""
        return self.raw.view(-1, self.stride)[:, : self.nbytes]


class States(NamedTuple):
    """States of one form, wherever they lie."""

    layout: StateLayout
    starts: torch.Tensor
    """`(n,)` int64 on the host: bytes from the buffer's start."""


class Movement(Protocol):
    """Copies and clears units.  Issues work on the current stream and waits for nothing.

    Device ids are `(n,)` int64 tensors on the units' device, whose values nobody looks at; host
    ids are ints.  Destinations differ from each other and from all sources.  Empty is nothing.
    """

    @property
    def name(self) -> str:
        """What moves the bytes now."""

    @property
    def calls(self) -> Counter[str]:
        """How often each verb was called, by its name."""

    @property
    def fallbacks(self) -> int:
        """How often something else had to take over for good."""

    def copy_units(self, units: Units, src: torch.Tensor, dst: torch.Tensor) -> None:
        """Unit `src[i]` to unit `dst[i]`, by device ids."""

    def zero_units(self, units: Units, ids: torch.Tensor) -> None:
        """Clear units, by device ids."""

    def move_runs(self, units: Units, moves: Iterable[Move]) -> None:
        """Copy runs of units, by host ids; the units have no gaps between them."""

    def zero_listed(self, units: Units, ids: Sequence[int]) -> None:
        """Clear units, by host ids."""

    def fork_states(self, raw: torch.Tensor, dst: States, src: States) -> None:
        """State `i` of `src` becomes state `i` of `dst`, in its form; both are in `raw`."""


COPY_BYTES = 32 << 20
"""Most bytes of a copy of runs that are held outside the arena at once."""


class TorchMovement:
    """Indexing: what is copied is gathered outside the arena and scattered from there.

    So it is read and written twice, in two launches.
    """

    name = "torch"
    fallbacks = 0

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def copy_units(self, units: Units, src: torch.Tensor, dst: torch.Tensor) -> None:
        self.calls["copy_units"] += 1
        units.rows[dst] = units.rows[src]

    def zero_units(self, units: Units, ids: torch.Tensor) -> None:
        self.calls["zero_units"] += 1
        units.rows[ids] = 0

    def move_runs(self, units: Units, moves: Iterable[Move]) -> None:
        self.calls["move_runs"] += 1
        listed = np.array(list(moves), np.int64).reshape(-1, 3)
        sources, targets, counts = listed.T
        within = np.arange(counts.sum()) - (counts.cumsum() - counts).repeat(counts)
        pairs = np.stack([sources.repeat(counts) + within, targets.repeat(counts) + within])
        at_once = max(1, COPY_BYTES // units.nbytes)
        for src, dst in torch.split(to_device(pairs, units.raw.device), at_once, dim=1):
            units.rows[dst] = units.rows[src]

    def zero_listed(self, units: Units, ids: Sequence[int]) -> None:
        self.calls["zero_listed"] += 1
        units.rows[to_device(np.array(ids, np.int64), units.raw.device)] = 0

    def fork_states(self, raw: torch.Tensor, dst: States, src: States) -> None:
        # Only compressed states need it, and so the kernels' package.
        from cachepawl_kernels.fork.reference import fork_states_at_reference

        self.calls["fork_states"] += 1
        fork_states_at_reference(raw, *dst, raw, *src)
