"""Two tiny tiers for tests: shapes, arenas, bytes, and a lane that runs when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from cachepawl.offload.arena_transfers import ArenaTransfers, Lanes, Side
from cachepawl.offload.copiers import Copiers, copiers_for
from cachepawl.offload.host_arena import HostArena
from cachepawl.offload.lanes import NOW, Mark, Work
from cachepawl.offload.transfers import Copy
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Runs

KV = KvShape(layers=3, heads=1, head_dim=8, v_head_dim=16, itemsize=2)
"""An entry of 3 x 48 bytes and 16 of padding."""
STATE = StateShape(2, ((3, 8),), 2, (2, 3, 4), 4)
SHAPES = Geometry(KV, STATE, 2)
"""Pages of 320 bytes, states of 288, one page a frame."""
SMALL_PAGES = Geometry(KV, StateShape(2, ((3, 8),), 2, (8, 3, 8), 4), 1)
"""Pages of 160 bytes, states of 1632, eleven pages a frame."""
CPU = torch.device("cpu")


class Tiers(NamedTuple):
    """A device arena, a host arena and what copies between them."""

    device: Side
    host: HostArena
    transfers: ArenaTransfers


def tiers(
    shapes: Geometry = SHAPES,
    frames: tuple[int, int] = (6, 8),
    *,
    lanes: Lanes,
    copiers: Copiers | None = None,
    group_bytes: int = 1,
    where: torch.device = CPU,
    make: Callable[..., ArenaTransfers] = ArenaTransfers,
) -> Tiers:
    """Random bytes on both sides; `frames` of the device and of the host."""
    device = shapes.with_budget(frames[0] * shapes.frame_bytes)
    side = Side(torch.zeros(device.total_bytes, dtype=torch.uint8, device=where), device)
    host = HostArena(shapes, frames[1] * shapes.frame_bytes, pinned=where.type == "cuda")
    source = torch.Generator().manual_seed(0)
    for raw in (side.raw, host.raw):
        raw.copy_(torch.randint(0, 256, raw.shape, dtype=torch.uint8, generator=source))
    transfers = make(
        side,
        Side(host.raw, host.geometry),
        copiers or copiers_for(where),
        lanes,
        group_bytes=group_bytes,
    )
    return Tiers(side, host, transfers)


def pages(*ids: int) -> Runs:
    return Runs.of_pages(ids)


def copy_of(
    came: Sequence[int] = (),
    to: Sequence[int] = (),
    states_from: Sequence[int] = (),
    states_to: Sequence[int] = (),
) -> Copy:
    return Copy(pages(*came), pages(*to), tuple(states_from), tuple(states_to))


class ManualMark:
    """Reached when the lane got so far.  Who holds on it makes the lane run."""

    def __init__(self, lane: ManualLane, number: int) -> None:
        self._lane = lane
        self._number = number

    def reached(self) -> bool:
        if self._number not in self._lane.ended:
            return False
        error = self._lane.ended[self._number]
        if error is not None:
            raise error
        return True

    def hold(self) -> None:
        self.wait()

    def wait(self) -> None:
        while self._number not in self._lane.ended:
            self._lane.advance()


class ManualLane:
    """A lane whose steps run when a test says so: any interleaving of two lanes can be had."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, Work]] = []
        """Number, the number of the call's first step, and what it does."""
        self.ended: dict[int, Exception | None] = {}
        self._next = 0

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        assert after is NOW
        first = self._next
        self._next += len(steps)
        self.steps += [(first + n, first, work) for n, work in enumerate(steps)]
        return [ManualMark(self, first + n) for n in range(len(steps))]

    def advance(self) -> None:
        """Run the next step, unless one before it in its call has failed."""
        number, first, work = self.steps.pop(0)
        self.ended[number] = next(
            (error for n in range(first, number) if (error := self.ended[n])), None
        )
        if self.ended[number] is None:
            try:
                work()
            except Exception as error:
                self.ended[number] = error

    def close(self) -> None:
        assert not self.steps


def manual_lanes() -> tuple[ManualLane, ManualLane, Lanes]:
    write, load = ManualLane(), ManualLane()
    return write, load, Lanes(write, load, now)


def now() -> Mark:
    return NOW
