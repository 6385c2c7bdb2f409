"""The CUDA lane's calls, in order, with streams and events that only write them down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cachepawl.offload import cuda_lane
from cachepawl.offload.cuda_lane import CudaLane, CudaMark
from cachepawl.offload.device_lanes import lanes_for


class Device:
    """Streams by name, what was called, and which events are reached."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = self.stream(name="forward")
        self.done: set[str] = set()
        self.events = 0

    def stream(self, device: object = None, *, priority: int = 0, name: str = "") -> Any:
        name = name or ("load" if priority < 0 else "write")
        return SimpleNamespace(
            name=name,
            wait_event=lambda event: self.calls.append(f"{name} waits {event.name}"),
            synchronize=lambda: self.calls.append(f"host waits {name}"),
        )

    def event(self) -> Any:
        self.events += 1
        event = SimpleNamespace(name="")

        def record(stream: Any, number: int = self.events) -> None:
            event.name = f"{stream.name}/{number}"
            self.calls.append(f"{event.name} recorded")

        event.record = record
        event.query = lambda: event.name in self.done
        event.synchronize = lambda: self.calls.append(f"host waits {event.name}")
        return event

    @contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    cuda = SimpleNamespace(
        Stream=made.stream,
        Event=made.event,
        stream=made.use,
        current_stream=lambda device=None: made.current,
    )
    monkeypatch.setattr(cuda_lane, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr("cachepawl.offload.device_lanes.torch", SimpleNamespace(cuda=cuda))
    return made


def test_a_lane_waits_for_the_fence_and_marks_each_step(device: Device) -> None:
    lanes = lanes_for(torch.device("cuda"))
    fence = lanes.fence()
    work = [lambda n=n: device.calls.append(f"{device.current.name} runs {n}") for n in (0, 1)]
    marks = lanes.load.run(work, fence)
    marks[1].hold()
    assert device.calls == [
        "forward/1 recorded",
        "load waits forward/1",
        "load runs 0",
        "load/2 recorded",
        "load runs 1",
        "load/3 recorded",
        "forward waits load/3",
    ]
    assert [mark.reached() for mark in marks] == [False, False]
    device.done.add("load/2")
    assert [mark.reached() for mark in marks] == [True, False]
    assert not any("host" in call for call in device.calls)
    marks[1].wait()
    lanes.write.close()
    assert device.calls[-2:] == ["host waits load/3", "host waits write"]


def test_a_failed_step_is_told_of_when_what_it_launched_has_ended(device: Device) -> None:
    lane = CudaLane(torch.device("cuda"), urgent=False)
    ran: list[int] = []

    def fail() -> None:
        raise RuntimeError("no")

    marks = lane.run([fail, lambda: ran.append(1)], CudaMark(device.current))
    assert ran == []
    assert [mark.reached() for mark in marks] == [False, False]
    device.done.update({"write/2", "write/3"})
    for mark in marks:
        with pytest.raises(RuntimeError, match="no"):
            mark.reached()


def test_a_lane_that_fails_leaves_nothing_under_way(device: Device) -> None:
    """No event for the first step, which was launched: the host waits for it, then raises."""
    lane = CudaLane(torch.device("cuda"), urgent=False)
    fence = CudaMark(device.current)

    def last_event() -> None:
        device.calls.append("write runs")
        cuda_lane.torch.cuda.Event = no_event  # type: ignore[misc]

    def no_event() -> Any:
        raise torch.OutOfMemoryError("no event")

    with pytest.raises(torch.OutOfMemoryError, match="no event"):
        lane.run([last_event], fence)
    assert device.calls[-2:] == ["write runs", "host waits write"]


def test_waiting_raises_nothing_and_reached_tells(device: Device) -> None:
    mark = CudaMark(device.current)

    def lost(*_: object) -> bool:
        raise RuntimeError("device lost")

    for event in mark._events:
        event.synchronize = event.query = lost
    mark.wait()
    with pytest.raises(RuntimeError, match="device lost"):
        mark.reached()


def test_a_fence_behind_several_streams(device: Device) -> None:
    other = device.stream(name="schedule")
    fence = CudaMark(device.current, other)
    lane = CudaLane(torch.device("cuda"), urgent=True)
    lane.run([lambda: None], fence)
    assert device.calls[2:4] == ["load waits forward/1", "load waits schedule/2"]
    device.done.add("forward/1")
    assert not fence.reached()
    device.done.add("schedule/2")
    assert fence.reached()
