"""Lanes: order, marks, failures; on a thread, nothing before its fence and nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cachepawl.offload.lanes import NOW, InlineLane, Lane, ThreadLane

PATIENCE = 30


class Gate:
    """A mark that a test opens."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def reached(self) -> bool:
        return self.open.is_set()

    def hold(self) -> None:
        self.wait()

    def wait(self) -> None:
        assert self.open.wait(PATIENCE)


@pytest.fixture(params=[InlineLane, lambda: ThreadLane("test")])
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    made = request.param()
    yield made
    made.close()


def test_steps_run_in_order(lane: Lane) -> None:
    seen: list[int] = []
    marks = [
        mark
        for call in range(3)
        for mark in lane.run([lambda n=n: seen.append(n) for n in (call, call + 10)], NOW)
    ]
    marks[-1].wait()
    assert seen == [0, 10, 1, 11, 2, 12]
    assert all(mark.reached() for mark in marks)


def test_a_failure_ends_its_call_and_no_other(lane: Lane) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    first, failed, behind = lane.run(
        [lambda: seen.append("first"), fail, lambda: seen.append("behind")], NOW
    )
    (later,) = lane.run([lambda: seen.append("later")], NOW)
    for mark in (failed, behind):
        mark.wait()
        mark.hold()
        with pytest.raises(RuntimeError, match="no"):
            mark.reached()
    later.wait()
    assert first.reached()
    assert later.reached()
    assert seen == ["first", "later"]


def test_a_thread_waits_for_the_fence_and_holds_who_reads() -> None:
    lane, gate, seen = ThreadLane("test"), Gate(), list[str]()
    (mark,) = lane.run([lambda: seen.append("copied")], gate)
    assert not mark.reached()
    assert seen == []
    threading.Timer(0.05, gate.open.set).start()
    mark.hold()
    assert seen == ["copied"]
    assert mark.reached()
    lane.close()
    with pytest.raises(RuntimeError, match="closed"):
        lane.run([], NOW)


def test_closing_lets_everything_run() -> None:
    lane, gate, seen = ThreadLane("test"), Gate(), list[int]()
    lane.run([lambda n=n: seen.append(n) for n in range(50)], gate)
    threading.Timer(0.05, gate.open.set).start()
    lane.close()
    assert seen == list(range(50))
