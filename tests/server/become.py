"""A forked process turns into a program, as if Python had been started for it."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def become(words: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    """Run `python WORDS`, words being `-m module ...`, `-c code ...` or `file ...`, in a folder."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.orig_argv = [sys.executable, *words]
    if words[0] not in ("-m", "-c"):
        sys.path[0] = str(Path(words[0]).parent)
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")
        return
    how, what, *arguments = words
    if how == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        sys.argv = ["-c", *arguments]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
