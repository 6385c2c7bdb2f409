"""Programs that SGLang is imported for once: `Forked.run` is `subprocess.run`, but for the import.

For programs whose outcome does not depend on when, or in what environment, SGLang is imported.
Every file that uses it has one test that asks a process of its own as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("fork_server.py")


class Forked:
    """A process that has imported `modules` in `environment`; leave its context to end it."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
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
            question = {
                "words": list(words),
                "environment": dict(environment),
                "folder": str(folder),
                "out": str(out),
                "err": str(err),
            }
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = self._answer()
            assert answer["left"] == []
            return subprocess.CompletedProcess(
                words, answer["code"], out.read_text(), err.read_text()
            )

    def _answer(self) -> Any:
        """The next line of JSON; SGLang may print others while it is imported."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"the fork server ended with {self._process.wait()}")
