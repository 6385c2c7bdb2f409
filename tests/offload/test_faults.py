"""Injected faults: each does what it says, in order, and only to its order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from machine import LOAD, WRITE, TransferMachine
from tiers import CPU, Tiers, copy_of, tiers

from cachepawl.errors import ConfigError, TransferError
from cachepawl.offload.copiers import copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.faults import Action, Fault, FaultyTransfers, parse_script
from cachepawl.offload.faulty_copiers import Shortage
from cachepawl.offload.transfers import Direction, Order, Outcome

FAILED = "failed, injected by the fault script"
SPOILT = "failed after the copy, injected by the fault script"


def faulty(script: str, die: Callable[[], None] | None = None) -> tuple[Tiers, FaultyTransfers]:
    memory = Shortage()
    made = tiers(lanes=lanes_for(CPU), copiers=memory.around(copiers_for(CPU)))
    more = {} if die is None else {"die": die}
    return made, FaultyTransfers(made.transfers, parse_script(script), memory, **more)


def write(ticket: int) -> Order:
    return Order(ticket, WRITE, copy_of([1], [2 + ticket]))


def load(ticket: int) -> Order:
    return Order(ticket, LOAD, copy_of([1], [2 + ticket]))


def test_refused() -> None:
    made, faults = faulty("write:1:refuse")
    before = made.host.pages[3].clone()
    faults.start(write(0))
    with pytest.raises(TransferError, match="ticket 1: refused, injected"):
        faults.start(write(1))
    faults.start(load(1))
    assert sorted(faults.finished()) == [Outcome(0, None), Outcome(1, None)]
    assert torch.equal(made.host.pages[3], before)


def test_failed_without_and_with_the_copy() -> None:
    made, faults = faulty("write:0:fail,write:1:spoil")
    before = made.host.pages[2].clone()
    for ticket in range(3):
        faults.start(write(ticket))
    assert faults.finished() == [Outcome(0, FAILED), Outcome(1, SPOILT), Outcome(2, None)]
    assert torch.equal(made.host.pages[2], before)
    assert torch.equal(made.host.pages[3], made.device.raw.view(6, -1)[1])


@pytest.mark.parametrize(("way", "make"), [("write", write), ("load", load)])
def test_no_memory(way: str, make: Callable[[int], Order]) -> None:
    """To copy: an outcome like any other.  To start: raised there.  Others are not touched."""
    made, faults = faulty(f"{way}:1:memory,{way}:2:no-start")
    pages = made.host.pages if way == "write" else made.device.raw.view(6, -1)
    before = pages.clone()
    told = []
    for ticket in (0, 1):
        faults.start(make(ticket))
        told += faults.finished()
    with pytest.raises(torch.OutOfMemoryError, match="injected"):
        faults.start(make(2))
    faults.start(make(3))
    told += faults.finished()
    assert [(outcome.ticket, outcome.error) for outcome in told] == [
        (0, None),
        (1, "OutOfMemoryError: out of memory, injected by the fault script"),
        (3, None),
    ]
    changed = (pages != before).any(1).nonzero().flatten().tolist()
    assert changed == [2, 5]


def test_late_holds_back_its_own_direction_only() -> None:
    _, faults = faulty("write:0:late:2")
    faults.start(write(0))
    faults.start(write(1))
    faults.start(load(2))
    assert faults.finished() == [Outcome(2, None)]
    assert faults.finished() == []
    assert faults.finished() == [Outcome(0, None), Outcome(1, None)]


def test_waiting_ends_what_is_late() -> None:
    _, faults = faulty("load:*:late:1000")
    faults.start(load(0))
    assert faults.finished() == []
    faults.wait()
    assert faults.finished() == [Outcome(0, None)]


def test_directions_change_places() -> None:
    _, faults = faulty("write:9:fail")
    firsts = set()
    for ticket in (0, 2):
        faults.start(Order(ticket, WRITE, copy_of([1], [2])))
        faults.start(Order(ticket + 1, LOAD, copy_of([3], [4])))
        firsts.add(faults.finished()[0].ticket % 2)
    assert firsts == {0, 1}


def test_dead_between_the_copy_and_its_outcome() -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    made, faults = faulty("load:0:die", die)
    faults.start(load(0))
    with pytest.raises(Killed):
        faults.finished()
    assert torch.equal(made.device.raw.view(6, -1)[2], made.host.pages[1])


def test_killed_as_by_the_kernel() -> None:
    words = "from cachepawl.offload.faults import kill_this_process; kill_this_process()"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", words], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL


def test_scripts() -> None:
    script = parse_script("load:*:spoil,load:2:late:7,write:0:refuse")
    assert script(LOAD, 0) == Fault(Action.SPOIL)
    assert script(LOAD, 2) == Fault(Action.LATE, 7)
    assert script(WRITE, 0) == Fault(Action.REFUSE)
    assert script(WRITE, 1) is None


def test_chance_is_the_same_every_time() -> None:
    asked = [(direction, n) for n in range(200) for direction in Direction]
    runs = []
    for _ in range(2):
        script = parse_script("random:5:25")
        runs.append([script(*which) for which in asked])
    assert runs[0] == runs[1]
    hit = [fault for fault in runs[0] if fault]
    assert 50 < len(hit) < 150
    assert {fault.action for fault in hit} == set(Action) - {
        Action.DIE,
        Action.MEMORY,
        Action.NO_START,
    }


@pytest.mark.parametrize(
    "text",
    ["", "write", "read:0:fail", "write:x:fail", "write:0:explode", "load:0:late", "load:0:fail:3",
     "load:0:late:x", "random:1", "random:x:3"],
)  # fmt: skip
def test_wrong_scripts(text: str) -> None:
    with pytest.raises(ConfigError, match="give"):
        parse_script(text)


class Faulted(TransferMachine):
    """The model, told of injected failures as of real ones."""

    may_be_refused = True

    def decides(self) -> FaultyTransfers:
        chance = parse_script("random:3:40")

        def script(direction: Direction, number: int) -> Fault | None:
            fault = chance(direction, number)
            if fault and fault.action is Action.FAIL:
                self.never_copied.add(self.tickets - 1)
            return fault

        return FaultyTransfers(self.tiers.transfers, script, Shortage())


def test_against_the_model(must_pass: Callable[..., None]) -> None:
    must_pass(Faulted, runs=40, steps=30)


class Careless(Faulted):
    """Takes a failed order for one that was copied."""

    def end(self, order: Order, outcome: Outcome) -> None:
        super().end(order, outcome._replace(error=None))


def test_the_model_notices(must_fail: Callable[..., None]) -> None:
    must_fail(Careless)
