"""Programs of `Forked` see what programs that Python was started for would see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked import Forked, Program

MODULE = "colorsys"
"""Imported in the forked process, and by nothing else."""
CHILD = """
import json, os, sys
import psutil, setproctitle
import colorsys_known

def tell(pipe, word):
    print("child", flush=True)
    setproctitle.setproctitle("titled " + word)
    pipe.send({
        "imported": colorsys_known.at_start, "parent": os.getppid(), "folder": os.getcwd(),
        "word": word, "later": os.environ["LATER"], "argv": sys.argv[1:],
        "main": sys.modules["__mp_main__"].__spec__.name,
        "title": " ".join(psutil.Process().cmdline()).strip(),
    })
"""
KNOWN = f"import sys\nat_start = {MODULE!r} in sys.modules\n"
PARENT = """
import json, multiprocessing, os, sys, time
from child import tell

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn", force=True)
    os.environ["LATER"] = "set by the program"
    told = []
    for word in ("one", "two", "three"):
        here, there = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=tell, args=(there, word))
        process.start()
        told.append(here.recv())
        process.join()
        told[-1]["code"] = process.exitcode
    print(json.dumps({"pid": os.getpid(), "told": told}), flush=True)
    if "stay" in sys.argv:
        time.sleep(600)
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with Forked([MODULE], os.environ) as ready:
        yield ready


def start(forked: Forked, folder: Path, *words: str) -> tuple[Program, Path]:
    """The parent of three, with two spares."""
    for name, text in (("child", CHILD), ("parent", PARENT), ("colorsys_known", KNOWN)):
        folder.joinpath(f"{name}.py").write_text(text)
    log = folder / "log"
    call = ["-m", "parent", *words]
    return forked.start(call, os.environ, folder, out=log, err=log, spares=2), log


def told(log: Path) -> dict[str, Any]:
    """What the parent printed last, once it has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = log.read_text().splitlines() if log.exists() else []
        if lines and lines[-1].startswith("{"):
            return json.loads(lines[-1])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_what_it_spawns_is_as_if_spawned(forked: Forked, tmp_path: Path) -> None:
    program, log = start(forked, tmp_path, "a", "b")
    assert program.wait(60) == 3
    said = told(log)
    assert said["pid"] == program.pid
    assert log.read_text().count("child\n") == 3
    for word, one in zip(("one", "two", "three"), said["told"], strict=True):
        assert one == {
            "imported": word != "three",  # there were two spares
            "parent": program.pid,
            "folder": str(tmp_path),
            "word": word,
            "later": "set by the program",
            "argv": ["a", "b"],
            "main": "parent",
            "title": f"titled {word}",
            "code": 0,
        }


def test_it_can_be_ended(forked: Forked, tmp_path: Path) -> None:
    program, log = start(forked, tmp_path, "stay")
    told(log)
    assert program.poll() is None
    program.terminate()
    assert program.wait(60) == -signal.SIGTERM
    assert program.poll() == -signal.SIGTERM
    program.kill()  # nothing to do, and nobody else is killed
    assert not psutil.pid_exists(program.pid)


def test_spares_go_with_a_program_that_wants_none(forked: Forked, tmp_path: Path) -> None:
    log = tmp_path / "log"
    call = ["-c", "import time; print('{}', flush=True); time.sleep(600)"]
    program = forked.start(call, os.environ, tmp_path, out=log, err=log, spares=2)
    told(log)
    spares = psutil.Process(program.pid).children()
    assert len(spares) == 2
    program.terminate()
    program.wait(60)
    assert psutil.wait_procs(spares, timeout=20)[1] == []


def test_a_file_is_run_as_python_runs_it(forked: Forked, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, beside\n"
        "print(__name__, __file__, sys.argv, sys.orig_argv, sys.path[0], beside.__file__)\n"
        "sys.exit(4)\n"
    )
    call = [str(program), "a", "-m"]
    again = forked.run(call, os.environ, tmp_path.parent)
    real = subprocess.run(
        [sys.executable, *call], cwd=tmp_path.parent, capture_output=True, text=True
    )
    assert (again.returncode, again.stdout) == (real.returncode, real.stdout)
    assert real.returncode == 4, real.stderr
