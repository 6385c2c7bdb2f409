"""When compressed states are copied: before the next forward, all that was asked for together.

Everything that writes a slot or a frame anew does so in a forward, or on the schedule stream
right after `flush`.  So a copy may wait until then: its source is as it was when the copy was
asked for, whoever owns the slot by now.  Flushed on the forward stream it comes after the
forward that computed the state, which may still be running when the request gives it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cachepawl.pool.arena import Arena
from cachepawl.pool.checkpoints import CheckpointMove
from cachepawl.pool.copy_order import CopyQueue, Kind
from cachepawl.pool.state_codec import StateCodec


class CheckpointCopies:
    """Copies between slots and checkpoints of one arena, not made yet."""

    def __init__(self, arena: Arena, *, corrupt: bool = False) -> None:
        """`corrupt`: a negative control, expanded states are zeroed."""
        self._codec = StateCodec(arena)
        self._queue = CopyQueue(arena.geometry.checkpoints_per_frame)
        self._arena = arena
        self._corrupt = corrupt

    def compress(self, slot: int, checkpoint: int) -> None:
        """The state in a slot, as it is after what has been launched, to a checkpoint."""
        self._queue.add(Kind.COMPRESS, slot, checkpoint)

    def expand(self, checkpoint: int, slot: int) -> None:
        """A checkpoint to a slot, before the next forward."""
        self._queue.add(Kind.EXPAND, checkpoint, slot)

    def move(self, moves: Sequence[CheckpointMove]) -> None:
        """Checkpoints to other places."""
        for source, target in moves:
            self._queue.add(Kind.MOVE, source, target)

    def flush(self) -> None:
        """Make all copies, on the current stream; nothing where none was asked for."""
        for batch in self._queue.take():
            self._codec.copy(batch)
            if self._corrupt and batch.kind is Kind.EXPAND:
                self._arena.zero_states(torch.tensor(batch.targets).to(self._arena.raw.device))

    def before(self, act: Callable[[int], None]) -> Callable[[int], None]:
        """Something that writes a frame at once, made to come after the copies (tests)."""

        def after_all(frame: int) -> None:
            self.flush()
            act(frame)

        return after_all
