"""What a policy learned reaches its file while the server lives: a killed one writes nothing."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.history import load
from cachepawl.tree import RadixTree
from cachepawl.types import Key
from cachepawl_launch import keeper as launched
from cachepawl_launch.keeper import Keeper


def taught(requests: int) -> Joint:
    """A policy that heard of so many prompts."""
    policy, tree = Joint(), RadixTree(64)
    policy.serve(tree, 1.0, 1.0)
    ask(policy, requests)
    return policy


def ask(policy: Joint, requests: int) -> None:
    for row in range(requests):
        policy.began(policy.tree, row, Key(array("q", [row] * 128).tobytes()), 100 * row, None)


def until(path: Path, spells: int) -> int:
    for _ in range(200):
        if len(load(path)) == spells:
            break
        time.sleep(0.02)
    return len(load(path))


def test_it_writes_when_requests_cease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "LOOK", 0.05)
    path, policy = tmp_path / "history", taught(0)
    Keeper(policy, path).start()
    assert load(path) == []
    ask(policy, 5)
    assert until(path, 5) == 5
    written = path.stat().st_mtime_ns
    time.sleep(0.3)
    assert path.stat().st_mtime_ns == written  # nothing new, nothing written


ENDS = """
import signal, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from test_keeper import Keeper, ask, launched, taught

launched.LOOK = launched.EVERY = 3600.0
policy = taught(0)
Keeper(policy, Path({path!r})).start()
ask(policy, 5)
if {told}:
    # As SGLang does: the signal ends the loop, not the process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("ready", flush=True)
    time.sleep(60)
sys.exit()
"""


@pytest.mark.parametrize("told", [False, True])
def test_a_regular_end_writes_what_nobody_wrote(tmp_path: Path, told: bool) -> None:
    """Of a process that ends before the writer has looked once."""
    path = tmp_path / "history"
    script = ENDS.format(here=str(Path(__file__).parent), path=str(path), told=told)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        if told:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert load(path) == []
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert len(load(path)) == 5


def test_what_changes_all_the_time_stays_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cachepawl.policy.joint.requests.NAP", 0)
    path, policy = tmp_path / "history", taught(3)
    keeper = Keeper(policy, path)
    policy.requests._changes += 1  # a request is being learned from
    with caplog.at_level(logging.WARNING):
        assert not keeper.write()
    assert "stays as it is for now" in caplog.text
    assert not path.exists()
    policy.requests._changes += 1
    assert keeper.write()
    assert len(load(path)) == 3


def test_a_failure_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    keeper = Keeper(taught(3), folder / "history")
    keeper.write()
    assert len(load(folder / "history")) == 3
    (folder / "history").unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        keeper.write()
        keeper.write()
    assert len([r for r in caplog.records if "the policy goes on without" in r.message]) == 1
