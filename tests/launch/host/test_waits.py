"""Waits for loads: counted once a request, from its first load to the end of its last."""

from __future__ import annotations

import pytest

pytest.importorskip("sglang")

from cachepawl_launch.host.waits import Waits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_request_waits_once() -> None:
    clock = Clock()
    waits = Waits(clock)
    waits.begin("a")
    clock.now += 1.5
    waits.begin("a")
    waits.begin("b")
    clock.now += 0.5
    waits.end_unless(lambda rid: rid == "b")
    waits.end("a")
    assert waits.stats() == {
        "host_waits": 1, "host_wait_ms": 2000, "host_step_waits": 0, "host_step_wait_ms": 0,
    }  # fmt: skip
    waits.clear()
    waits.end("b")
    assert waits.stats()["host_waits"] == 1


def test_a_step_waits() -> None:
    clock = Clock()
    waits = Waits(clock)
    with waits.step():
        clock.now += 0.25
    assert (waits.stats()["host_step_waits"], waits.stats()["host_step_wait_ms"]) == (1, 250)
