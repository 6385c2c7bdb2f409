"""Maps of a live server: the numbers of `/server_info`, and only for those who may ask."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cells import Cell
from harness import Client, Server, tokens
from observed import KEY, Observed

from cachepawl.cli.main import main

PATH = "/cachepawl/map"


def ask(server: Server, key: str | None = KEY, **limits: int) -> requests.Response:
    """One map; waits while the server wants it to."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    while True:
        reply = requests.get(server.client.base + PATH, params=limits, headers=headers, timeout=60)
        if reply.status_code != 429:
            return reply
        time.sleep(float(reply.headers["Retry-After"]) / 10)


def test_without_the_flag_there_is_no_map(client: Client, cell: Cell) -> None:
    assert requests.get(client.base + PATH, timeout=60).status_code == 404
    assert "cachepawl_map" not in client.state()


@pytest.fixture
def mapped(observed: Observed) -> Server:
    """A server that serves maps, to the bearer of its admin key; its cache is empty."""
    observed.server.client.flush()
    return observed.server


@pytest.mark.xdist_group("observed")
def test_a_map_says_what_the_counters_say(mapped: Server) -> None:
    stem = tokens(1, 200)
    mapped.client.generate_many([(stem + tokens(i, 30 * i), 8) for i in range(6)], 3)
    mapped.client.generate(tokens(99, 80), 8, extra_key="tenant")
    stats = mapped.client.wait_idle()
    drawn = ask(mapped, nodes=4, cells=10).json()
    assert mapped.client.stats() == stats == drawn["stats"]
    geometry, by_kind, entries = drawn["geometry"], drawn["bytes"], drawn["tree"]["entries"]
    assert sum(by_kind.values()) == geometry["frames"] * geometry["frame_bytes"]
    assert geometry["frames"] == stats["frames"] + 1
    token = geometry["page_bytes"] // geometry["page_tokens"]
    assert by_kind["kv_evictable"] == stats["full_evictable_tokens"] * token > 0
    assert by_kind["states_evictable"] == stats["state_evictable"] * geometry["state_bytes"] > 0
    assert by_kind["free"] == stats["frames_free"] * geometry["frame_bytes"] > 0
    assert by_kind["kv_stranded"] == stats["pages_stranded"] * geometry["page_bytes"]
    assert by_kind["kv_locked"] == by_kind["kv_requests"] == by_kind["states_requests"] == 0
    assert len(entries) <= 4 < stats["tree_nodes"] == sum(entry["nodes"] for entry in entries)
    assert sum(entry["tokens"] for entry in entries) == stats["full_evictable_tokens"]
    assert len(drawn["cells"]["bytes"]) <= 10


@pytest.mark.xdist_group("observed")
def test_the_command_draws_it(mapped: Server, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["map", "--url", mapped.client.base, "--format", "json", "--nodes", "3"]
    assert main(command) == 2
    assert "HTTP 401: the server wants its admin key" in capsys.readouterr().err
    drawn = ask(mapped, nodes=3).json()
    command += ["--api-key", KEY]
    while main(command):  # not so soon after another
        assert "HTTP 429: maps may take" in capsys.readouterr().err
        time.sleep(0.1)
    assert json.loads(capsys.readouterr().out) == drawn


@pytest.mark.xdist_group("observed")
def test_a_map_of_running_requests(mapped: Server) -> None:
    """Taken while answers are written: what requests hold is on it, and all adds up."""
    with ThreadPoolExecutor(1) as pool:
        jobs = [(tokens(500 + i, 100), 200) for i in range(3)]
        answers = pool.submit(mapped.client.generate_at_once, jobs)
        seen: list[dict[str, Any]] = []
        while not answers.done():
            seen.append(ask(mapped).json())
        answers.result()
    busy = [drawn for drawn in seen if drawn["requests"] == 3]
    assert busy
    for drawn in busy:
        assert drawn["stats"]["rows"] == 3
        assert drawn["bytes"]["states_requests"] > 0
        assert drawn["bytes"]["kv_requests"] > 0
        geometry = drawn["geometry"]
        assert sum(drawn["bytes"].values()) == geometry["frames"] * geometry["frame_bytes"]


@pytest.mark.xdist_group("observed")
def test_who_may_ask_and_for_what(mapped: Server) -> None:
    assert ask(mapped, key=None).status_code == 401
    assert ask(mapped, key="guessed").status_code == 401
    for limits in ({"nodes": 0}, {"nodes": 10**9}, {"cells": -1}):
        assert ask(mapped, **limits).status_code == 400
    assert ask(mapped).ok


@pytest.mark.xdist_group("observed")
def test_often_asked_seldom_drawn(mapped: Server) -> None:
    url, headers = mapped.client.base + PATH, {"Authorization": f"Bearer {KEY}"}
    codes = [requests.get(url, headers=headers, timeout=60) for _ in range(50)]
    late = [reply for reply in codes if reply.status_code == 429]
    assert late
    assert "of the scheduler's time" in late[0].json()["error"]
    assert int(late[0].headers["Retry-After"]) >= 1
    assert {reply.status_code for reply in codes} <= {200, 429}
