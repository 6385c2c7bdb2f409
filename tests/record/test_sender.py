"""The way to the writer: what happens behind it never reaches the server."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_load import Load, make_plain

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ConfigError
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.record.parts import check_folder
from cachepawl.record.sender import Sender
from cachepawl.record.setup import setup_of
from cachepawl.record.verbs import CALLS, NOTES

SETUP = setup_of(make_plain(), {"model": "none"})
HERE = Path(__file__)


def start(sender: Sender, path: Path, part_bytes: int = 1 << 40) -> None:
    sender.start(path, SETUP, salt=None, part_bytes=part_bytes)


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rerun_of(path: Path) -> Rerun:
    rerun = Rerun(Log(path))
    assert list(rerun.run())
    return rerun


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_is_put_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trace{suffix}"
    sender, before = Sender(), 5
    load = Load(sender.put)
    load.run(before)  # the pools are built, and used, before the log can begin
    start(sender, path)
    load.run(60)
    sender.close()
    rerun = rerun_of(path)
    assert rerun.log.complete
    assert rerun.divergence is None
    assert rerun.cache is not None
    assert rerun.cache.stats() == load.cache.stats()
    assert rerun.skipped == rerun.lost == 0


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_killed_server_leaves_a_whole_log(tmp_path: Path, suffix: str) -> None:
    """It is killed with the writer's input open; the writer, left alone, completes the file."""
    path = tmp_path / f"trace{suffix}"
    child = subprocess.Popen(
        [sys.executable, str(HERE), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = json.loads(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    wait_for(lambda: not Path(f"/proc/{told['writer']}").exists() or zombie(told["writer"]))
    assert rerun_of(path).made == told["calls"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_killed_writer_leaves_what_was_flushed(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"trace{suffix}"
    sender = Sender()
    start(sender, path)
    load = Load(sender.put)
    load.run(30)
    time.sleep(2.3)  # two ticks
    assert sender._process is not None
    sender._process.kill()
    with caplog.at_level(logging.WARNING):
        wait_for(lambda: load.run(1) or sender.stopped)
    load.run(30)
    assert len([r for r in caplog.records if "recording stopped" in r.getMessage()]) == 1
    assert not sender._queue
    rerun = rerun_of(path)
    assert not rerun.log.complete
    assert rerun.made > 200
    assert rerun.divergence is None


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize(("suffix", "limit"), [("", 1_300_000), (".zst", 200_000)])
def test_a_full_disk_stops_the_recording(
    tmp_path: Path, suffix: str, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit is on the size of files; the writer gets it before its first line."""
    path = tmp_path / f"trace{suffix}"
    sender = Sender()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        start(sender, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, previous)
    load = Load(sender.put)
    with caplog.at_level(logging.WARNING):
        wait_for(lambda: load.run(50) or sender.stopped)
    load.run(50)  # and it goes on
    (said,) = (r.getMessage() for r in caplog.records if "recording" in r.getMessage())
    assert str(path) in said
    assert "File too large" in said
    assert limit / 10 < path.stat().st_size <= limit
    rerun = rerun_of(path)
    assert rerun.divergence is None
    assert not rerun.log.complete


def test_a_writer_that_cannot_keep_up_costs_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stopped for a while; what does not fit the queue is left out and counted."""
    path = tmp_path / "trace"
    sender = Sender(most_bytes=40_000)
    start(sender, path)
    load = Load(sender.put)
    load.run(5)
    wait_for(lambda: not sender._queue)
    assert sender._process is not None
    os.kill(sender._process.pid, signal.SIGSTOP)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):  # a full pipe comes first
            load.run(50)
            if sender._lost:
                break
    assert sender._lost
    os.kill(sender._process.pid, signal.SIGCONT)
    wait_for(lambda: load.run(1) or not sender._lost)
    load.cache.reset()
    for _ in range(12):
        load.run(1)
        time.sleep(0.06)
    sender.close()
    assert len([r for r in caplog.records if "keep up" in r.getMessage()]) == 1
    rerun = rerun_of(path)
    assert rerun.log.complete
    assert rerun.lost
    assert rerun.skipped
    assert rerun.divergence is None
    assert rerun.cache is not None  # known again, from the reset on
    assert picture(rerun.cache) == picture(load.cache)


def test_what_is_lost_last_is_told(tmp_path: Path) -> None:
    sender = Sender(most_bytes=2000)
    Load(sender.put).run(5)  # before anybody sends
    path = tmp_path / "trace"
    start(sender, path)
    lost = sender._lost
    assert lost
    sender.close()
    rerun = rerun_of(path)
    assert rerun.log.complete
    assert rerun.lost == lost
    assert rerun.cache is None


def picture(cache: HybridPrefixCache) -> str:
    """The tree but for its clock, which a cache that begins at a reset cannot know."""
    return re.sub(r"(used|clock) \d+", "", cache.tree.render())


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("missing/trace", "No such file or directory"),
        ("file/trace", "Not a directory"),
        (".", "is a directory"),
        ("a\0b", "null"),
        ("a" * 300, "name too long"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path: Path, where: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--cachepawl-trace ") as error:
        check_folder(tmp_path / where)
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_writer_that_cannot_begin(tmp_path: Path) -> None:
    sender = Sender()
    with pytest.raises(ConfigError, match=r"--cachepawl-trace .*/gone/trace: No such file"):
        start(sender, tmp_path / "gone" / "trace")
    sender.close()


def test_an_older_recording_stays(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for _ in range(2):
        sender = Sender()
        start(sender, path)
        Load(sender.put).run(3)
        sender.close()
        assert sender.path == sorted(tmp_path.iterdir())[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace", "trace.1"]
    one, other = rerun_of(path), rerun_of(tmp_path / "trace.1")
    assert one.log.header.run != other.log.header.run
    assert one.log.parts == [path]
    assert one.made == other.made > 0


def as_server(path: Path) -> None:
    """Records, says how much when it is flushed, and waits to be killed."""
    sender, calls = Sender(), 0
    start(sender, path)

    def put(record: Any) -> None:
        nonlocal calls
        calls += record[0] in CALLS
        assert record[0] in CALLS or record[0] in NOTES
        sender.put(record)

    Load(put).run(40)
    while sender._queue or sender._sent < sender._queued:
        time.sleep(0.01)
    assert sender._process is not None
    print(json.dumps({"calls": calls, "writer": sender._process.pid}), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    as_server(Path(sys.argv[1]))
