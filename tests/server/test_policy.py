"""The policy that learns, in the real server: right answers, and what it learned outlives it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cells import LIMITS
from harness import TOLERANCE, Server, command, start
from ports import free_port
from test_pressure import mixed_jobs, worst

from cachepawl.policy.joint.history import OldSpell, load

FAMILY, PAGE = "nemotron_h", 16
JOINT = ["--cachepawl-policy", "joint", "--cachepawl-policy-history"]


@contextmanager
def started(history: Path) -> Iterator[Server]:
    """A server that may be told to end."""
    port, log = free_port(), history.parent / f"{time.monotonic_ns()}.log"
    more = ["--cachepawl-device-gb", "0.0009", "--cachepawl-check-level", "2"]
    call = command(FAMILY, PAGE, port, pawl=True, limits=LIMITS, more=[*more, *JOINT, str(history)])
    server = Server(start(call, log), port, log)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def kept(history: Path, least: int) -> list[OldSpell]:
    """What the file has once there is that much, or after ten seconds."""
    for _ in range(100):
        if len(spells := load(history)) >= least:
            break
        time.sleep(0.1)
    return spells


@pytest.mark.stress
@pytest.mark.xdist_group("policy")
def test_what_was_learned_outlives_the_server(tmp_path: Path) -> None:
    """Evictions among concurrent requests; one server is killed, the next is told to end."""
    history = tmp_path / "history"
    jobs = mixed_jobs(12, 1000)
    with started(history) as live:
        cold = live.client.cold_many(jobs)
        warm = live.client.generate_many(jobs * 2, 6)
        assert worst(cold * 2, warm) < TOLERANCE
        assert sum(answer.cached for answer in warm) > 0
        assert live.client.wait_idle()["evicted_states"] > 0
        first = kept(history, 2 * len(jobs))
    assert len(first) >= 2 * len(jobs)
    assert any(spell.ended for spell in first)

    with started(history) as live:
        assert live.client.generate(*jobs[0]).distance(cold[0]) < TOLERANCE
        live.process.terminate()
        live.process.wait(60)
    second = load(history)
    assert second[: len(first)] == first
    assert len(second) > len(first)
