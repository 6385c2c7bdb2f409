"""What a policy learned reaches its file while the server lives: a killed one writes nothing."""

from __future__ import annotations

import logging
import time
from array import array
from pathlib import Path

import pytest

from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.history import load
from cachepawl.tree import RadixTree
from cachepawl.types import Key
from cachepawl_launch import policy as launched
from cachepawl_launch.policy import Keeper


def taught(requests: int) -> Joint:
    """A policy that heard of so many prompts."""
    policy, tree = Joint(), RadixTree(64)
    policy.serve(tree, 1.0, 1.0)
    for row in range(requests):
        policy.began(tree, row, Key(array("q", [row] * 128).tobytes()), 100 * row, None)
    return policy


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
    tree = policy.tree
    for row in range(5):
        policy.began(tree, row, Key(array("q", [row] * 128).tobytes()), 100 * row, None)
    assert until(path, 5) == 5
    written = path.stat().st_mtime_ns
    time.sleep(0.3)
    assert path.stat().st_mtime_ns == written  # nothing new, nothing written


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
