"""Programs that SGLang is imported for once: `Forked.run` is `subprocess.run`, but for the import.

For programs whose outcome does not depend on when, or in what environment, SGLang is imported.
A file whose subject is a user's command has one test that asks a process of its own as well.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("fork_server.py")
GLANCE = 0.02
"""Seconds between two looks at a program that is waited for."""


class Program:
    """A program that `Forked` has started, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, parent: Forked, pid: int, args: list[str]) -> None:
        self._parent = parent
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self.left: list[int] = []
        """Processes of its session that were there when its end was noticed."""

    def poll(self) -> int | None:
        if self.returncode is None:
            answer = self._parent.ask({"poll": self.pid})
            self.returncode, self.left = answer["code"], answer["left"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(GLANCE)
        return code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Forked:
    """A process that has imported `modules` in `environment`; leave its context to end it."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PROGRAM), *modules],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Forked:
        while self._answer() != {"ready": True}:
            pass
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """`python WORDS` in a folder.  AssertionError where a process outlives the program."""
        with tempfile.TemporaryDirectory() as kept:
            out, err = Path(kept) / "out", Path(kept) / "err"
            program = self.start(words, environment, folder, out=out, err=err)
            code = program.wait()
            assert program.left == []
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        out: Path,
        err: Path,
        spares: int = 0,
    ) -> Program:
        """`python WORDS` in a folder, going on; what it prints is added to the files.

        The first `spares` processes that it spawns have imported the modules too.
        """
        question = {
            "words": list(words),
            "environment": dict(environment),
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "spares": spares,
        }
        return Program(self, self.ask(question)["pid"], [sys.executable, *words])

    def ask(self, question: Mapping[str, Any]) -> Any:
        """The answer to a question of `fork_server.py`; one at a time, from any thread."""
        with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        """The next line of JSON; SGLang may print others while it is imported."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"the fork server ended with {self._process.wait()}")
