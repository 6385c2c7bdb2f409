"""Copies of states that are asked for one by one and made in a few launches.  No torch.

Between two forwards states are compressed into checkpoints, checkpoints move, and states are
expanded from them, while frames change hands: a slot that was compressed from may hold
checkpoints by the time the copies are made.  What was asked for first must come first where
the bytes are the same; all else may share a launch.

    asked     compress 7 -> a   compress 8 -> b   move a -> c   expand b -> 9
    waves     0                 0                 1             1
    launches  compress (7 -> a, 8 -> b); move (a -> c); expand (b -> 9)
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What a copy does."""

    COMPRESS = 0
    """A slot's state to a checkpoint."""
    MOVE = 1
    """A checkpoint to another."""
    EXPAND = 2
    """A checkpoint to a slot."""


class Batch(NamedTuple):
    """Copies of one kind that touch no byte twice, `sources[i]` to `targets[i]`."""

    kind: Kind
    sources: list[int]
    targets: list[int]


class CopyQueue:
    """Copies in the order they were asked for, between slots and checkpoints of one arena."""

    def __init__(self, per_frame: int) -> None:
        """`per_frame`: checkpoints of a frame; a slot is a whole frame."""
        self._per_frame = per_frame
        self._batches: dict[tuple[int, Kind], Batch] = {}
        # The last wave that reads or writes a unit: a checkpoint's id, or ~frame for a slot.
        self._read: dict[int, int] = {}
        self._written: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(batch.sources) for batch in self._batches.values())

    def add(self, kind: Kind, source: int, target: int) -> None:
        """Copy `source` to `target`, ids of what the kind says.  Costs the places of a frame."""
        read = ~source if kind is Kind.COMPRESS else source
        written = ~target if kind is Kind.EXPAND else target
        reads, writes = self._read, self._written
        before = [writes.get(unit, -1) for unit in self._overlapping(read)]
        for unit in self._overlapping(written):
            before += reads.get(unit, -1), writes.get(unit, -1)
        wave = 1 + max(before)
        reads[read] = max(wave, reads.get(read, -1))
        writes[written] = wave
        batch = self._batches.setdefault((wave, kind), Batch(kind, [], []))
        batch.sources.append(source)
        batch.targets.append(target)

    def _overlapping(self, unit: int) -> list[int]:
        """Units that share bytes with this one."""
        if unit >= 0:
            return [unit, ~(unit // self._per_frame)]
        first = ~unit * self._per_frame
        return [unit, *range(first, first + self._per_frame)]

    def take(self) -> list[Batch]:
        """All that was asked for, to be made in this order; the queue is empty then."""
        batches = [self._batches[at] for at in sorted(self._batches)]
        self._batches, self._read, self._written = {}, {}, {}
        return batches
