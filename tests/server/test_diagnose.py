"""`cachepawl diagnose-sglang` on what real servers print and answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from cells import CHUNK, Cell
from harness import Server, model_folder, running, tokens

from cachepawl.cli.main import main
from cachepawl.offline.sglang.inputs.metrics import read_metrics
from cachepawl_launch.cpu.flags import Limits

ANSWER = 48
"""Tokens; above 40, so that a decode step is logged and an idle server sees its gauges stale."""
STOCK = Limits(total_tokens=8192, states=24, requests=4, context=2048, chunked_prefill=CHUNK)


def save(server: Server, folder: Path, *, metrics: bool) -> list[str]:
    """A server's answers as files; the options that name them."""
    base, words = server.client.base, ["--log", str(server.log_path)]
    paths = {"--server-info": "server_info"} | ({"--metrics": "metrics"} if metrics else {})
    for option, path in paths.items():
        file = folder / path
        file.write_text(requests.get(f"{base}/{path}", timeout=60).text)
        words += [option, str(file)]
    return words


def idle(server: Server, folder: Path) -> list[str]:
    """The same once the gauges, which lag behind, show that no request holds a state."""
    for _ in range(200):
        words = save(server, folder, metrics=True)
        reading = read_metrics(folder / "metrics")
        if reading.facts["states_used"].value == reading.facts["kv_used"].value == 0:
            return words
        time.sleep(0.1)
    raise AssertionError("requests still hold states")


def diagnosed(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["diagnose-sglang", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_cachepawl(
    server: Server, cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is known as ours, and hazards of a static split are none of its own."""
    words = save(server, tmp_path, metrics=False)
    data = diagnosed([*words, "--model", str(model_folder() / cell.family)], capsys)
    assert data["conflicts"] == []
    state = server.client.state()
    assert data["facts"]["running_limit"]["value"] == state["effective_max_running_requests_per_dp"]
    assert data["facts"]["page_tokens"]["value"] == cell.page
    split = {"H1", "H2", "H3", "H5", "H6"}
    assert not split & {finding["id"] for finding in data["findings"]}
    assert not split & {check["id"] for check in data["not_checked"]}
    assert not any(finding["severity"] == "error" for finding in data["findings"])


def test_stock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixteen prompts leave two states each, in 24 slots."""
    more = ["--enable-metrics"]
    with running("nemotron_h", 16, tmp_path, pawl=False, limits=STOCK, more=more) as live:
        live.client.flush()
        for i in range(4):
            assert live.client.generate(tokens(i, 330), ANSWER).cached == 0
        once = diagnosed(idle(live, tmp_path), capsys)
        for i in range(4, 16):
            live.client.generate(tokens(i, 330), ANSWER)
        again = live.client.generate(tokens(4, 330), ANSWER)
        words = idle(live, tmp_path)
    # 256 + 74 tokens: a state at 256 and one at 320; the answer crosses no multiple of 256.
    assert once["facts"]["states_evictable"]["value"] == 4 * 2
    data = diagnosed([*words, "--model", str(model_folder() / "nemotron_h")], capsys)
    assert data["conflicts"] == data["changed_at_start"] == []
    assert data["plan"]["state_slots"] == 24
    assert data["plan"]["running_limit"] == 4
    findings = {finding["id"]: finding for finding in data["findings"]}
    assert {"H1", "H2", "H7", "H10"} <= findings.keys()
    # 21 sequences of 378 tokens x 2 states, against 24 - 4 x 3 slots; 16 prompts came round.
    assert findings["H1"]["numbers"]["states_wanted"] == 8192 // 378 * 2
    assert findings["H1"]["numbers"]["slots_for_the_cache"] == 12
    assert findings["H2"]["numbers"]["slots_taken"] == 4 * 4
    assert findings["H10"]["numbers"]["states_free_share"] <= 4 / 24
    assert again.cached == 0  # its KV is there, its states are gone
