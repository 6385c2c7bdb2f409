"""A rank's host tier on a CPU: opened, used, with faults, closed; refused by name."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

pytest.importorskip("sglang")

from cachepawl.errors import ConfigError
from cachepawl.offload.transfers import Copy, Direction, Order, Outcome
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Runs
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
