"""A rank's host tier on a CPU: opened, used, with faults, closed; refused by name."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("sglang")

from cachepawl.errors import ConfigError
from cachepawl.offload.transfers import Copy, Direction, Order, Outcome
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Runs
from cachepawl_launch.host import parts as opening
from cachepawl_launch.host.machine import Machine
from cachepawl_launch.host.parts import HostFaults, HostParts, open_host

SHAPES = Geometry(KvShape(3, 1, 8, 16, 2), StateShape(2, ((3, 8),), 2, (2, 3, 4), 4), 2, 6)
THERE = Copy(Runs([(1, 2)]), Runs([(3, 2)]), (4,), (5,))
BACK = Copy(Runs([(3, 2)]), Runs([(2, 2)]), (5,), (1,))


def no_streams() -> list[torch.cuda.Stream]:
    return []


@pytest.fixture
def device() -> Arena:
    arena = Arena(SHAPES, SHAPES.total_bytes, "cpu", ArenaDtypes(torch.bfloat16))
    arena.raw.random_(0, 256)
    return arena


def there_and_back(parts: HostParts) -> list[str | None]:
    """The outcomes' errors."""
    outcomes: list[Outcome] = []
    for order in (Order(0, Direction.WRITE_BACK, THERE), Order(1, Direction.LOAD_BACK, BACK)):
        parts.orders.start(order)
        parts.copies.begin_loads()
        parts.orders.wait()
        outcomes += parts.orders.finished()
    assert [outcome.ticket for outcome in outcomes] == [0, 1]
    return [outcome.error for outcome in outcomes]


def test_there_and_back(device: Arena, caplog: pytest.LogCaptureFixture) -> None:
    before = device.pages.clone()
    with caplog.at_level(logging.INFO):
        parts = open_host(device, 9 * SHAPES.frame_bytes, no_streams)
    assert "host tier of 2880 bytes, 8 frames, not pinned: there is no GPU" in caplog.text
    assert there_and_back(parts) == [None, None]
    assert torch.equal(device.pages[[2, 3]], before[[1, 2]])
    assert torch.equal(device.states[1], before[4, : SHAPES.state_bytes])
    names = {thread.name for thread in threading.enumerate()}
    assert {"cachepawl write back", "cachepawl load back"} <= names
    parts.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith("cachepawl") for name in names)


@pytest.mark.parametrize(
    ("faults", "pages_right", "state_right", "errors"),
    [
        (HostFaults(corrupt="pages"), False, True, [False, False]),
        (HostFaults(corrupt="states"), True, False, [False, False]),
        (HostFaults(script="load:0:spoil"), True, True, [False, True]),
        (HostFaults(script="load:0:memory"), False, False, [False, True]),
        (HostFaults(script="write:0:late:3", seconds=0.001), True, True, [False, False]),
    ],
)
def test_faults(
    device: Arena,
    faults: HostFaults,
    pages_right: bool,
    state_right: bool,
    errors: list[bool],
) -> None:
    before = device.pages.clone()
    parts = open_host(device, 9 * SHAPES.frame_bytes, no_streams, faults)
    assert [error is not None for error in there_and_back(parts)] == errors
    assert torch.equal(device.pages[[2, 3]], before[[1, 2]]) == pages_right
    assert torch.equal(device.states[1], before[4, : SHAPES.state_bytes]) == state_right
    parts.close()


@pytest.mark.parametrize(
    ("budget", "faults", "message"),
    [
        (SHAPES.frame_bytes, HostFaults(), "the least is two frames"),
        (2**50, HostFaults(), "--cachepawl-host-gb .* or less"),
        (2**50, HostFaults(script="x"), "fault 'x': give"),
        (2**50, HostFaults(corrupt="x"), "corrupt loads of 'x'"),
    ],
)
def test_refusals(device: Arena, budget: int, faults: HostFaults, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_host(device, budget, no_streams, faults)


BUDGET = 9 * SHAPES.frame_bytes
"""2880 bytes."""


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def nodes(root: Path, *free_kib: int) -> Path:
    """A machine with NUMA nodes of so much free memory, CPU n on node n."""
    for n, kib in enumerate(free_kib):
        folder = f"sys/devices/system/node/node{n}"
        put(root, f"{folder}/meminfo", f"Node {n} MemTotal: 99 kB\nNode {n} MemFree: {kib} kB")
        put(root, f"{folder}/cpulist", str(n))
    return root


def on_node(number: int | None) -> Callable[[torch.device, Path], int | None]:
    return lambda where, root: number


@pytest.fixture
def reserved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was reserved."""
    sizes: list[int] = []
    arena = opening.HostArena

    def noted(*args: object, **more: object) -> object:
        sizes.append(args[1])  # type: ignore[arg-type]
        return arena(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "HostArena", noted)
    return sizes


@pytest.mark.parametrize(
    ("free", "cpus", "node", "message"),
    [
        ((99, 2), {1}, 1, r"2880 bytes is more than the 2048 bytes .* on NUMA node 1.*"),
        ((99, 99), {0}, 1, r"CPUs 0, none of them on NUMA node 1.*--numa-node.*"),
    ],
)
def test_remote_memory_is_refused_unless_it_is_allowed(
    device: Arena,
    free: tuple[int, ...],
    cpus: set[int],
    node: int,
    message: str,
    reserved: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus)
    machine = Machine(node_of=on_node(node), root=nodes(tmp_path, *free))
    with pytest.raises(ConfigError, match=message + "or let it be remote with --cachepawl-host-re"):
        open_host(device, BUDGET, no_streams, machine=machine)
    assert reserved == []
    machine = Machine(remote=True, node_of=on_node(node), root=tmp_path)
    open_host(device, BUDGET, no_streams, machine=machine).close()
    assert reserved == [BUDGET]
    (warned,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "going on as told by --cachepawl-host-remote" in warned


@pytest.mark.parametrize(
    ("free", "node"), [((2,), 0), ((2, 2), None), ((), 0), ((2, 99), 1), ((99, 2), 7)]
)
def test_nothing_is_refused_where_nothing_is_remote(
    device: Arena,
    free: tuple[int, ...],
    node: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One node, no node that is known, or room on it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1})
    machine = Machine(node_of=on_node(node), root=nodes(tmp_path, *free))
    open_host(device, BUDGET, no_streams, machine=machine).close()


def test_ranks_beside_the_same_node_share_its_memory(
    device: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 KiB hold two tiers of 2880 bytes, and not three; on the other node there is one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    root = nodes(tmp_path, 8, 3)
    beside = Machine(nodes_here=lambda node: [0, 1, 0], root=root)
    for node in (0, 1):
        machine = replace(beside, node_of=on_node(node))
        open_host(device, BUDGET, no_streams, machine=machine).close()
    third = replace(beside, nodes_here=lambda node: [0, 0, 0], node_of=on_node(0))
    with pytest.raises(ConfigError, match="for each of 3 ranks is more than the 8192 bytes"):
        open_host(device, BUDGET, no_streams, machine=third)


def test_a_cpu_has_no_node() -> None:
    assert Machine().node_of(torch.device("cpu"), Path("/")) is None


def test_room_for_all_ranks_is_asked_for_before_any_reserves(
    device: Arena, reserved: list[int], tmp_path: Path
) -> None:
    """5 KiB beside what stays free: enough for one rank's, and not for two."""
    put(tmp_path, "proc/meminfo", f"MemAvailable: {(2 << 20) + 5} kB")
    answers: list[bool] = []

    def all_well(well: bool) -> bool:
        assert reserved == []
        answers.append(well)
        return well

    with pytest.raises(ConfigError, match="on each of 2 ranks, 5760 bytes in all"):
        open_host(device, BUDGET, no_streams, machine=Machine(2, all_well, root=tmp_path))
    assert reserved == []
    open_host(device, BUDGET, no_streams, machine=Machine(1, all_well, root=tmp_path)).close()
    assert answers == [False, True]
    assert reserved == [BUDGET]


def test_no_rank_goes_on_where_another_is_refused(device: Arena, reserved: list[int]) -> None:
    with pytest.raises(ConfigError, match="another rank refuses it"):
        open_host(device, BUDGET, no_streams, machine=Machine(2, lambda well: False))
    assert reserved == []
