"""The arena's bytes moved by our kernels: one launch a batch, no copy outside the arena.

Needs torch and Triton.  Nothing here decides; what is asked for is what `TorchMovement` does.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from cachepawl.errors import InvariantError
from cachepawl.pool.movement import Movement, States, TorchMovement, Units
from cachepawl.pool.moves import Move
from cachepawl_kernels import (
    KernelArgumentError,
    UnitLayout,
    copy_extents,
    copy_slots,
    fork_states_at,
    zero_extents,
    zero_slots,
)

logger = logging.getLogger(__name__)


class TritonMovement:
    """Triton kernels, 16 bytes an access.

    Every unit is a multiple of 16 bytes long and starts on one: `Geometry` sees to it.
    """

    name = "triton"
    fallbacks = 0

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def copy_units(self, units: Units, src: torch.Tensor, dst: torch.Tensor) -> None:
        self.calls["copy_units"] += 1
        copy_slots(units.raw, _layout(units), dst, src)

    def zero_units(self, units: Units, ids: torch.Tensor) -> None:
        self.calls["zero_units"] += 1
        zero_slots(units.raw, _layout(units), ids)

    def move_runs(self, units: Units, moves: Iterable[Move]) -> None:
        self.calls["move_runs"] += 1
        listed = np.array(list(moves), np.int64).reshape(-1, 3)
        sources, targets, lengths = torch.from_numpy((listed * units.stride).T.copy())
        copy_extents(units.raw, targets, units.raw, sources, lengths)

    def zero_listed(self, units: Units, ids: Sequence[int]) -> None:
        self.calls["zero_listed"] += 1
        offsets = torch.tensor(ids, dtype=torch.int64) * units.stride
        zero_extents(units.raw, offsets, torch.full_like(offsets, units.nbytes))

    def fork_states(self, raw: torch.Tensor, dst: States, src: States) -> None:
        self.calls["fork_states"] += 1
        fork_states_at(raw, *dst, raw, *src)


def _layout(units: Units) -> UnitLayout:
    return UnitLayout(units.stride, units.nbytes)


class FallingBack:
    """Kernels until one of them does not start; torch from then on, said once and counted.

    A kernel that is not started has done nothing, so torch does the whole of it.  Arguments
    that a kernel refuses are a bug of ours, of which torch would make wrong bytes: they are not
    caught, but come out as InvariantError.
    """

    def __init__(self, kernels: Movement, torch_movement: TorchMovement) -> None:
        self._kernels = kernels
        self._torch = torch_movement
        self.fallbacks = 0
        """How often a kernel did not start: 0 or 1."""

    @property
    def name(self) -> str:
        return (self._torch if self.fallbacks else self._kernels).name

    @property
    def calls(self) -> Counter[str]:
        return self._kernels.calls + self._torch.calls

    def copy_units(self, units: Units, src: torch.Tensor, dst: torch.Tensor) -> None:
        self._call(lambda one: one.copy_units(units, src, dst))

    def zero_units(self, units: Units, ids: torch.Tensor) -> None:
        self._call(lambda one: one.zero_units(units, ids))

    def move_runs(self, units: Units, moves: Iterable[Move]) -> None:
        listed = tuple(moves)
        self._call(lambda one: one.move_runs(units, listed))

    def zero_listed(self, units: Units, ids: Sequence[int]) -> None:
        self._call(lambda one: one.zero_listed(units, ids))

    def fork_states(self, raw: torch.Tensor, dst: States, src: States) -> None:
        self._call(lambda one: one.fork_states(raw, dst, src))

    def _call(self, work: Callable[[Movement], Any]) -> None:
        if not self.fallbacks:
            try:
                work(self._kernels)
                return
            except KernelArgumentError as error:
                raise InvariantError(
                    f"a kernel refused what the arena asked for: {error}"
                ) from error
            except Exception as error:
                self.fall_back(error)
        work(self._torch)

    def fall_back(self, error: Exception) -> None:
        """Leave the kernels for good."""
        self.fallbacks += 1
        logger.warning(
            "cachepawl: the arena's bytes are moved by torch from now on, slower: %s: %s",
            type(error).__name__,
            str(error).strip().splitlines()[0] if str(error).strip() else "",
        )
