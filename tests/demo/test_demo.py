"""The demo as a user runs it: its story, its way out by Ctrl-C, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import requests

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("demo")]

SECONDS = 300
ROW = re.compile(
    r"^ *(?P<label>\S.*?) {2,}(?P<prompt>\d+) +(?P<cached>\d+) +\d+ +"
    r"(?:(?P<tokens>\d+)\+(?P<states>\d+))? +(?P<reasons>.*?) *$"
)


class Row(NamedTuple):
    prompt: int
    cached: int
    evicted: int
    reasons: str


def rows_of(output: str) -> dict[str, Row]:
    """The lines of the table of requests, by label."""
    return {
        found["label"]: Row(
            int(found["prompt"]),
            int(found["cached"]),
            int(found["tokens"] or 0) + int(found["states"] or 0),
            found["reasons"],
        )
        for line in output.splitlines()
        if (found := ROW.match(line))
    }


def servers_in(folder: Path) -> list[psutil.Process]:
    """Processes of a server that the demo started: they live in its log's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder / "demo":
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


class Demo:
    """A running demo, its output in files."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self._out = (folder / "stdout").open("w+")
        self._err = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cachepawl_launch.demo", "--cpu", "--folder", ".", *words],
            stdout=self._out,
            stderr=self._err,
            cwd=folder,
        )

    @property
    def out(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "stderr").read_text()

    def says(self, text: str) -> None:
        assert until(lambda: text in self.out or self.process.poll() is not None)
        assert text in self.out, self.out + self.err

    def ends(self, seconds: float = SECONDS) -> int:
        code = self.process.wait(seconds)
        assert until(lambda: not servers_in(self.folder), 5), servers_in(self.folder)
        assert "Traceback" not in self.err
        return code

    def close(self) -> None:
        """After a failed test: nothing may stay."""
        self.process.kill()
        self.process.wait()
        for process in servers_in(self.folder):
            process.kill()
        self._out.close()
        self._err.close()


Start = Callable[..., Demo]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that the model is made once."""
    return tmp_path_factory.mktemp("demo").resolve()


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Demo] = []

    def begin(folder: Path, *words: str) -> Demo:
        running.append(Demo(folder, *words))
        return running[-1]

    yield begin
    for demo in running:
        demo.close()


def test_the_story_holds(folder: Path, start: Start) -> None:
    demo = start(folder)
    assert demo.ends() == 0, demo.out + demo.err
    rows = rows_of(demo.out)
    assert rows["chat 1, turn 1"].cached == 0
    for label in ("chat 1, turn 2", "chat 1, turn 3", "chat 3 branches off", "chat 3 once more"):
        assert rows[label].cached > rows[label].prompt // 2, label
    assert "KV without a state" in rows["chat 2 branches off"].reasons
    strangers = [row for label, row in rows.items() if re.fullmatch(r"stranger \d+", label)]
    assert 2 <= len(strangers) <= 10
    assert sum(row.evicted for row in strangers) > 1000
    for label in ("chat 1 is back, turn 4", "chat 1, turn 5"):
        assert rows[label].cached > rows[label].prompt // 2, label
    lost = rows["stranger 1 once more"]
    assert lost.cached < lost.prompt // 4
    assert "evicted" in lost.reasons
    assert "WARNING" not in demo.out
    for text in ("hit rate", "S state", "demo/server.log", "--model-path YOUR_MODEL", "dry-run"):
        assert text in demo.out, text


def test_serve_runs_until_ctrl_c(folder: Path, start: Start) -> None:
    demo = start(folder, "--serve")
    demo.says("serving on ")
    url = demo.out.split("serving on ")[1].split()[0]
    body: dict[str, Any] = {
        "model": "demo",
        "max_tokens": 4,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert requests.post(f"{url}/v1/chat/completions", json=body, timeout=60).ok
    assert servers_in(folder)

    second = start(folder, "--port", url.rsplit(":", 1)[1])
    assert second.process.wait(30) == 2
    assert "leave --port out" in second.err

    demo.process.send_signal(signal.SIGINT)
    assert demo.ends(60) == 130
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)


@pytest.mark.parametrize("processes", [1, 3], ids=["alone", "with-its-children"])
def test_ctrl_c_while_the_server_starts(folder: Path, start: Start, processes: int) -> None:
    demo = start(folder)
    assert until(lambda: len(servers_in(folder)) >= processes)
    time.sleep(1)
    assert "ready after" not in demo.out
    demo.process.send_signal(signal.SIGINT)
    assert demo.ends(60) == 130


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_the_model_is_made(
    tmp_path: Path, start: Start, signal_number: signal.Signals
) -> None:
    demo = start(tmp_path)
    demo.says("making a tiny")
    demo.process.send_signal(signal_number)
    assert demo.ends(30) == 128 + signal_number
    assert not (tmp_path / "demo").exists() or not servers_in(tmp_path)


@pytest.mark.stress
def test_a_server_that_dies_while_serving(folder: Path, start: Start) -> None:
    demo = start(folder, "--serve")
    demo.says("serving on ")
    (server,) = psutil.Process(demo.process.pid).children()
    server.kill()
    assert demo.ends(60) == 1
    assert "the server ended while serving" in demo.err
    assert "its log: demo/server.log" in demo.err


def test_a_broken_checkpoint(folder: Path, tmp_path: Path, start: Start) -> None:
    """The model's folder looks complete, the server finds that it is not."""
    made = tmp_path / "models" / "nemotron_h"
    made.mkdir(parents=True)
    for file in (folder / "models" / "nemotron_h").iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    (made / "config.json").write_text("{")
    demo = start(tmp_path)
    assert demo.ends() == 1
    assert "the server ended while starting" in demo.err
    assert "  | cachepawl: " in demo.err
    assert "its log: demo/server.log" in demo.err
    assert os.path.getsize(tmp_path / "demo" / "server.log")


def test_a_folder_in_the_way(tmp_path: Path, start: Start) -> None:
    made = tmp_path / "models" / "nemotron_h"
    made.mkdir(parents=True)
    (made / "config.json").write_text(json.dumps({}))
    demo = start(tmp_path)
    assert demo.ends(60) == 1
    assert "is not a checkpoint of this recipe: remove it first" in demo.err
