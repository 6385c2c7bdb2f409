"""The two halves of resting the garbage collector, in a process that imports nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = "print(gc.get_threshold(), gc.get_freeze_count() > 0)"


def said(*steps: str) -> list[str]:
    """What the collector is told at every SAY."""
    code = "; ".join(["import gc", "from cachepawl import collector", *steps])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_rare_then_as_before() -> None:
    steps = ["gc.set_threshold(600, 5, 6)", "collector.rest()", SAY, "collector.resume()", SAY]
    assert said(*steps) == ["(2000000, 5, 6) False", "(600, 5, 6) True"]


def test_twice_is_once() -> None:
    steps = ["collector.rest()", "collector.rest()", "collector.resume()", SAY, "collector.rest()"]
    assert said(*steps, SAY) == ["(700, 10, 10) True", "(2000000, 10, 10) True"]


def test_what_somebody_else_has_set_stays() -> None:
    steps = ["collector.rest()", "gc.set_threshold(50, 5, 5)", "collector.resume()", SAY]
    assert said(*steps) == ["(50, 5, 5) True"]


def test_no_rest_no_change() -> None:
    assert said("collector.resume()", SAY) == ["(700, 10, 10) False"]


@pytest.mark.parametrize(("name", "rests"), [("__mp_main__", True), ("imported", False)])
def test_who_rests(name: str, rests: bool) -> None:
    """A server's process, before it imports anything; nobody else who imports the launcher."""
    run = f"import runpy, sys; runpy.run_module('cachepawl.launch_server', run_name='{name}')"
    (line,) = said(run, "print(gc.get_threshold()[0], 'sglang' in sys.modules)")
    assert line == f"{2_000_000 if rests else 700} False"
