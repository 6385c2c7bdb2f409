"""A server is asked to end while copies are under way: it waits for them and leaves nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests
from cells import LIMITS
from conftest import ARENA
from harness import (
    TOLERANCE,
    Client,
    Server,
    command,
    launched,
    running,
    seen,
    tokens,
)
from ports import free_port
from test_host_tier import HOST, LENGTH, QUICK, one_by_one, round_of
from test_pressure import worst

SECONDS = 60
"""SGLang looks for the signal every 5 s, lets requests end, and gives its scheduler 15 s."""
NEVER = 10**9
"""Polls: the outcome of the load does not come while the server runs."""
SLOW = ["--cachepawl-host-slow", "2", "--cachepawl-host-faults", f"load:0:late:{NEVER}"]
LEFT = 14
"""Prompts after which the first has left the device."""
QUEUE = 6
"""Writes behind each other, two seconds each, that are under way when it is asked to end: longer
than it takes to look, shorter than it gives."""
DIED = re.compile(r"exit ?code[=: ]*-9|SIGKILL|died unexpectedly", re.IGNORECASE)
"""SGLang's words for a process that was killed."""
CLOSED = re.compile(
    r"the host tier is closed; at the end (\d+) writes and (\d+) loads were under way"
)


def until(client: Client, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    for _ in range(2400):
        stats = client.stats()
        if holds(stats):
            return stats
        time.sleep(0.05)
    raise AssertionError(f"never came: {stats}")


def busy(client: Client) -> None:
    """At last one load that nobody waits for any more, and writes behind each other."""
    jobs = round_of(LEFT)
    one_by_one(client, jobs)
    until(client, lambda s: not s["host_writes_under_way"] + s["host_writes_wanted"])
    asked = threading.Thread(target=lambda: give_up(client, jobs[0][0]))
    asked.start()
    until(client, lambda s: s["host_loads_under_way"] > 0)
    client.abort("gone")
    asked.join()
    for i in range(2 * QUEUE):
        if client.stats()["host_writes_under_way"] < QUEUE:
            client.generate(tokens(5000 + i, LENGTH), 2)


def give_up(client: Client, prompt: list[int]) -> None:
    body = {"input_ids": prompt, "sampling_params": {"max_new_tokens": 2}, "rid": "gone"}
    requests.post(f"{client.base}/generate", json=body, timeout=600)


def ends_well(server: Server) -> None:
    """What it printed before does not count: SGLang reports a start that the machine slowed."""
    served = len(server.log)
    end = server.end(SECONDS)
    print(f"ended after {end.seconds:.1f} s with code {end.code}")
    assert end.code == 0
    assert end.left == []
    last_words = server.log[served:]
    assert "SIGTERM received" in last_words
    assert "Traceback" not in last_words, last_words
    assert "killing them before they released" not in last_words


def test_copies_under_way(tmp_path: Path) -> None:
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=[*HOST, *SLOW]) as live:
        busy(live.client)
        before = live.client.stats()
        print({name: before[name] for name in before if "under_way" in name})
        assert before["host_loads_under_way"] == 1
        assert before["host_writes_under_way"] > 0
        ends_well(live)
        found = CLOSED.search(live.log)
        assert found, live.log[-6000:]
        writes, loads = map(int, found.groups())
        print(f"{writes} writes and {loads} loads were under way")
        assert writes > 0
        assert loads == 1


@pytest.mark.stress
def test_killed_between_a_copy_and_its_acknowledgement(tmp_path: Path) -> None:
    """The server ends by itself, says that a process of its died, and can be started again."""
    jobs, port = round_of(40), free_port()
    more = [*HOST, "--cachepawl-host-faults", "load:0:die"]
    words = command(QUICK.family, QUICK.page, port, pawl=True, limits=LIMITS, more=more)
    with launched(words, port, tmp_path / "killed.log") as live:
        cold = one_by_one(live.client, jobs)
        family = live.family()
        with pytest.raises(requests.RequestException):
            one_by_one(live.client, jobs)
        live.asked_to_end = True  # by us, as far as the harness is concerned
        code = live.process.wait(SECONDS)
        print(f"ended with code {code}; it said: {live.log[-1500:]}")
        assert code != 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert [left for process in alive if (left := seen(process))] == []
        assert DIED.search(live.log), live.log[-3000:]
    with launched(words, port, tmp_path / "again.log") as again:
        assert worst(cold[:2], one_by_one(again.client, jobs[:2])) < TOLERANCE


@pytest.mark.stress
def test_nothing_to_wait_for(tmp_path: Path) -> None:
    """The same end, so the same code."""
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=ARENA) as live:
        live.client.generate(*round_of(1)[0])
        ends_well(live)
