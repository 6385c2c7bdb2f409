"""Runs `cachepawl diagnose-vllm` in this process and keeps what it said and wrote."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from vllm_plans import written, zamba2

from cachepawl.cli.main import main
from cachepawl.offline.vllm.records import VllmReport

FILES = ["manifest.json", "report.json", "summary.md"]
REPORT = TypeAdapter(VllmReport)


class Done(NamedTuple):
    code: int
    out: str
    err: str
    folder: Path

    def data(self, name: str = "report.json") -> dict[str, Any]:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def files(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir()) if self.folder.exists() else []


def run(tmp_path: Path, *words: str, plan_value: Any = None, notes: Any = None) -> Done:
    """The command over these files; `words` are further options."""
    path = written(tmp_path / "plan.json", zamba2() if plan_value is None else plan_value)
    more = []
    if notes is not None:
        more = ["--raw-safe-metadata", str(written(tmp_path / "notes.json", notes))]
    return run_on(path, tmp_path / "out", *more, *words)


def run_on(path: Path, folder: Path, *words: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(
            ["diagnose-vllm", "--translated-cache-config", str(path), "--output-dir", str(folder),
             *words]
        )  # fmt: skip
    return Done(code, out.getvalue(), err.getvalue(), folder)


def assert_refused(done: Done, *words: str) -> None:
    """Exit 2, one line, nothing written."""
    assert (done.code, done.out, done.files) == (2, "", [])
    assert done.err.startswith("cachepawl: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    for word in words:
        assert word in done.err
