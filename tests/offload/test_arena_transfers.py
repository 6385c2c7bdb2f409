"""Transfers between two arenas: any interleaving, threads, layers, failures, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from machine import LOAD, WRITE, TransferMachine
from tiers import CPU, SHAPES, copy_of, manual_lanes, tiers

from cachepawl.errors import ConfigError, TransferError
from cachepawl.offload.arena_transfers import ArenaTransfers, Lanes, Side
from cachepawl.offload.copiers import Copiers, copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.faulty_copiers import corrupted, slowed
from cachepawl.offload.lanes import NOW, Mark
from cachepawl.offload.transfers import Order, Outcome
from cachepawl.pool.geometry import Geometry


class OnTheSpot(TransferMachine):
    def lanes(self) -> Lanes:
        return lanes_for(CPU)


class OnThreads(TransferMachine):
    def lanes(self) -> Lanes:
        return lanes_for(CPU, threads=True)


class NoStates(TransferMachine):
    shapes = Geometry(SHAPES.kv, None, 2, frame_pages=3)

    def free_frames(self, side: object) -> list[int]:
        return []


@pytest.mark.parametrize(
    ("machine", "runs"), [(TransferMachine, 40), (OnTheSpot, 20), (OnThreads, 20), (NoStates, 15)]
)
def test_against_the_model(
    machine: type[TransferMachine], runs: int, must_pass: Callable[..., None]
) -> None:
    must_pass(machine, runs=runs, steps=30)


class TellsEarly(ArenaTransfers):
    """Outcomes before the copy has ended."""

    def finished(self) -> list[Outcome]:
        self.begin_loads()
        ended = [Outcome(t, None) for q in self._under_way.values() for s in q for t in s.tickets]
        for queue in self._under_way.values():
            queue.clear()
        return ended


class ReadsAtOnce(ArenaTransfers):
    """The forward does not wait for layers."""

    def wait_layer(self, layer: int) -> None:
        self._loads = []


class ReadsAGroupEarly(ArenaTransfers):
    """Waits for the group before the one that is read."""

    def wait_layer(self, layer: int) -> None:
        super().wait_layer(layer - 1)


class ReadsStatesAtOnce(ArenaTransfers):
    def wait_states(self) -> None:
        self._states = None


class ForgetsTheLastPage(ArenaTransfers):
    def _parts(self, copies):  # type: ignore[no-untyped-def]
        states, pieces = super()._parts(copies)
        return states, pieces[:-1]


@pytest.mark.parametrize(
    "broken", [TellsEarly, ReadsAtOnce, ReadsAGroupEarly, ReadsStatesAtOnce, ForgetsTheLastPage]
)
def test_the_model_notices(broken: type[ArenaTransfers], must_fail: Callable[..., None]) -> None:
    must_fail(type("Broken", (TransferMachine,), {"make": broken}))


def test_a_write_back_is_submitted_at_once_and_a_load_when_told() -> None:
    write, load, lanes = manual_lanes()
    made = tiers(lanes=lanes)
    made.transfers.start(Order(0, WRITE, copy_of([1], [2])))
    made.transfers.start(Order(1, LOAD, copy_of([3], [2])))
    made.transfers.start(Order(2, LOAD, copy_of([4], [3], [5], [4])))
    assert len(write.steps) == 1
    assert not load.steps
    made.transfers.begin_loads()
    # States of all loads, then each layer of all of them.
    assert len(load.steps) == 1 + SHAPES.kv.layers
    assert made.transfers.finished() == []
    load.advance()
    assert torch.equal(made.device.raw.view(6, -1)[4, :288], made.host.states[5])
    made.transfers.wait_layer(1)
    assert len(load.steps) == 1
    made.transfers.wait()
    assert made.transfers.finished() == [Outcome(0, None), Outcome(1, None), Outcome(2, None)]
    assert made.transfers.finished() == []


def test_loads_that_no_forward_waits_for_leave_nothing_behind() -> None:
    made = tiers(lanes=lanes_for(CPU))
    for ticket in range(3):
        made.transfers.start(Order(ticket, LOAD, copy_of([3], [2], [5], [4])))
        made.transfers.begin_loads()
        assert made.transfers._loads
        assert made.transfers._states
        assert made.transfers.finished() == [Outcome(ticket, None)]
        assert not made.transfers._loads
        assert made.transfers._states is None


def test_a_load_that_ended_is_forgotten_while_another_goes_on() -> None:
    _, load, lanes = manual_lanes()
    made = tiers(lanes=lanes, group_bytes=10**9)
    for ticket in range(2):
        made.transfers.start(Order(ticket, LOAD, copy_of([3], [2 + ticket])))
        made.transfers.begin_loads()
    load.advance()
    assert made.transfers.finished() == [Outcome(0, None)]
    assert len(made.transfers._loads) == 1
    made.transfers.wait_layer(0)
    assert made.transfers.finished() == [Outcome(1, None)]
    assert not made.transfers._loads


def test_a_small_load_comes_whole() -> None:
    _, load, lanes = manual_lanes()
    made = tiers(lanes=lanes, group_bytes=10**9)
    made.transfers.start(Order(0, LOAD, copy_of([3, 4], [2, 3])))
    made.transfers.begin_loads()
    assert len(load.steps) == 1
    made.transfers.wait_layer(0)
    assert not load.steps
    assert torch.equal(made.device.raw.view(6, -1)[2], made.host.pages[3])


def test_the_fence_is_taken_at_submission() -> None:
    """A write-back waits for what was launched before it, a load for what was before begin."""
    taken: list[int] = []
    fences = iter(range(10))

    class Fence:
        def __init__(self) -> None:
            self.number = next(fences)

        def reached(self) -> bool:
            return True

        def hold(self) -> None:
            taken.append(self.number)

        wait = hold

    made = tiers(lanes=lanes_for(CPU, fence=Fence))
    made.transfers.start(Order(0, WRITE, copy_of([1], [2])))
    made.transfers.start(Order(1, LOAD, copy_of([3], [2])))
    assert taken == [0]
    made.transfers.begin_loads()
    assert taken == [0, 1]


class Gated:
    """Copies when it is let."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.inner = copiers_for(CPU).load

    def extents(self, *arguments: Any) -> None:
        assert self.permits.acquire(timeout=60)
        self.inner.extents(*arguments)

    def rows(self, *arguments: Any) -> None:
        assert self.permits.acquire(timeout=60)
        self.inner.rows(*arguments)


def test_a_forward_waits_for_a_slow_thread() -> None:
    gate = Gated()
    made = tiers(lanes=lanes_for(CPU, threads=True), copiers=Copiers(gate, gate, gate))
    made.transfers.start(Order(0, LOAD, copy_of([3, 4], [2, 3], [5], [4])))
    made.transfers.begin_loads()
    assert made.transfers.finished() == []
    threading.Timer(0.05, gate.permits.release).start()
    made.transfers.wait_states()
    assert torch.equal(made.device.raw.view(6, -1)[4, :288], made.host.states[5])
    assert made.transfers.finished() == [], "no layer was let"
    threading.Timer(0.05, gate.permits.release, [SHAPES.kv.layers]).start()
    made.transfers.wait_layer(SHAPES.kv.layers - 1)
    assert torch.equal(made.device.raw.view(6, -1)[2], made.host.pages[3])
    made.transfers.close()
    assert made.transfers.finished() == [Outcome(0, None)]


def test_directions_do_not_wait_for_each_other() -> None:
    gate = Gated()
    free = copiers_for(CPU).load
    made = tiers(lanes=lanes_for(CPU, threads=True), copiers=Copiers(gate, free, free))
    made.transfers.start(Order(0, WRITE, copy_of([1], [2])))
    made.transfers.start(Order(1, LOAD, copy_of([3], [2])))
    made.transfers.begin_loads()
    made.transfers.wait_layer(SHAPES.kv.layers - 1)
    while not (ended := made.transfers.finished()):
        pass
    assert ended == [Outcome(1, None)]
    gate.permits.release()
    made.transfers.close()
    assert made.transfers.finished() == [Outcome(0, None)]


def test_slowed_copiers_copy() -> None:
    made = tiers(lanes=lanes_for(CPU), copiers=slowed(copiers_for(CPU), 0.001))
    made.transfers.start(Order(0, LOAD, copy_of([3], [2], [5], [4])))
    made.transfers.wait()
    assert torch.equal(made.device.raw.view(6, -1)[2], made.host.pages[3])


def test_a_failed_load_says_so_and_holds_nobody_up() -> None:
    class Broken:
        def extents(self, *_: object) -> None:
            raise RuntimeError("no link")

        rows = extents

    copiers = copiers_for(CPU)._replace(load=Broken())
    made = tiers(lanes=lanes_for(CPU, threads=True), copiers=copiers)
    made.transfers.start(Order(7, LOAD, copy_of([3], [2], [5], [4])))
    made.transfers.begin_loads()
    made.transfers.wait_states()
    made.transfers.wait_layer(0)
    made.transfers.wait()
    assert made.transfers.finished() == [Outcome(7, "RuntimeError: no link")]
    made.transfers.close()


def test_loads_that_cannot_be_submitted_end_with_the_error() -> None:
    """In their turn: behind the one that is under way.  The next ones are tried again."""
    _, load, lanes = manual_lanes()
    broken = [False]

    def fence() -> Mark:
        if broken[0]:
            raise torch.OutOfMemoryError("no event")
        return NOW

    made = tiers(lanes=lanes._replace(fence=fence))
    before = made.device.raw.clone()
    made.transfers.start(Order(0, LOAD, copy_of([3], [2])))
    made.transfers.begin_loads()
    broken[0] = True
    made.transfers.start(Order(1, LOAD, copy_of([3], [4], [5], [5])))
    made.transfers.start(Order(2, LOAD, copy_of([3], [1])))
    made.transfers.begin_loads()
    with pytest.raises(torch.OutOfMemoryError):
        made.transfers.start(Order(3, WRITE, copy_of([1], [3])))
    assert made.transfers.finished() == []
    made.transfers.wait_states()
    made.transfers.wait_layer(SHAPES.kv.layers - 1)
    error = "OutOfMemoryError: no event"
    told = made.transfers.finished()
    assert told == [Outcome(0, None), Outcome(1, error), Outcome(2, error)]
    before.view(6, -1)[2] = made.host.pages[3]
    assert torch.equal(made.device.raw, before)
    broken[0] = False
    made.transfers.start(Order(4, LOAD, copy_of([3], [1])))
    made.transfers.wait()
    assert made.transfers.finished() == [Outcome(4, None)]
    assert not load.steps


def test_a_mistake_is_not_told_as_an_outcome() -> None:
    def fence() -> Mark:
        raise AssertionError

    made = tiers(lanes=lanes_for(CPU)._replace(fence=fence))
    made.transfers.start(Order(0, LOAD, copy_of([3], [2])))
    with pytest.raises(AssertionError):
        made.transfers.begin_loads()


@pytest.mark.parametrize("kind", ["pages", "states"])
@pytest.mark.parametrize("group_bytes", [1, 10**9])
def test_corrupted_loads_are_zeros_and_nothing_else(kind: str, group_bytes: int) -> None:
    copiers = corrupted(copiers_for(CPU), kind)
    made = tiers(lanes=lanes_for(CPU), copiers=copiers, group_bytes=group_bytes)
    before = made.device.raw.clone()
    made.transfers.start(Order(0, LOAD, copy_of([3, 6], [2, 1], [5], [4])))
    made.transfers.wait()
    loaded, old = made.device.raw.view(6, -1), before.view(6, -1)
    for page, came in ((2, 3), (1, 6)):
        assert torch.equal(loaded[page], made.host.pages[came] * (kind != "pages"))
    assert torch.equal(loaded[4, :288], made.host.states[5] * (kind != "states"))
    assert torch.equal(loaded[4, 288:], old[4, 288:])
    for page in (0, 3, 5):
        assert torch.equal(loaded[page], old[page])


def test_refusals() -> None:
    made = tiers(lanes=lanes_for(CPU))
    before = made.device.raw.clone(), made.host.raw.clone()
    for direction, copy in (
        (WRITE, copy_of([6], [1])),
        (LOAD, copy_of([1], [6])),
        (WRITE, copy_of([1, 2], [1])),
    ):
        with pytest.raises(TransferError):
            made.transfers.start(Order(0, direction, copy))
    made.transfers.wait()
    assert made.transfers.finished() == []
    assert torch.equal(made.device.raw, before[0])
    assert torch.equal(made.host.raw, before[1])
    with pytest.raises(ConfigError, match="corrupt loads of 'rows': give pages or states"):
        corrupted(copiers_for(CPU), "rows")


def test_nothing_is_copied_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a GPU captures, so one is claimed here; the bytes are a CPU's."""
    made = tiers(lanes=lanes_for(CPU))
    capturing = [True]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    on_cpu = made.transfers._device
    claimed = SimpleNamespace(is_cuda=True)
    before = made.device.raw.clone(), made.host.raw.clone()
    monkeypatch.setattr(made.transfers, "_device", on_cpu._replace(raw=claimed))  # type: ignore[arg-type]
    for order in (Order(0, LOAD, copy_of([3], [2])), Order(1, WRITE, copy_of([3], [2]))):
        with pytest.raises(TransferError, match="a CUDA graph is being captured"):
            made.transfers.start(order)
    capturing[0] = False
    made.transfers.start(Order(2, LOAD, copy_of([3], [2])))
    capturing[0] = True
    made.transfers.begin_loads()  # asked for before, and begun in it
    capturing[0] = False
    why = "TransferError: a CUDA graph is being captured; transfer before or after"
    assert made.transfers.finished() == [Outcome(2, why)]
    made.transfers.start(Order(3, LOAD, copy_of([3], [4])))
    monkeypatch.setattr(made.transfers, "_device", on_cpu)
    made.transfers.wait()
    assert made.transfers.finished() == [Outcome(3, None)]
    assert torch.equal(made.host.raw, before[1])
    before[0].view(6, -1)[4] = made.host.pages[3]
    assert torch.equal(made.device.raw, before[0])


def test_tiers_of_different_shapes() -> None:
    made = tiers(lanes=lanes_for(CPU))
    other = Geometry(SHAPES.kv, None, 2, 4)
    with pytest.raises(ValueError, match="different shapes"):
        ArenaTransfers(made.device, Side(made.host.raw, other), copiers_for(CPU), lanes_for(CPU))
