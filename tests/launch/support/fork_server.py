"""Runs in a process of its own: imports modules once, then is forked into a program per question.

    python fork_server.py MODULE...

Importing SGLang takes a quarter of a minute, so it is done once.  A question is a line of JSON on
stdin, its answer a line on stdout:

{"words": ["-m", "module", ...] or ["-c", "code"], "environment": {...}, "folder": "...",
 "out": "file", "err": "file"}
{"code": exit code, "left": [processes that it has left behind]}

What a program sees is as if Python had been started with those words, but for the modules, which
are imported already, with the environment of this process.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from cachepawl import collector


def main() -> None:
    collector.rest()
    for module in sys.argv[1:]:
        import_module(module)
    collector.resume()  # so that a child's collections look only at what is its own
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise SystemExit(f"{len(threads)} threads: a fork would lose all but one")
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        question = json.loads(line)
        child = os.fork()
        if child == 0:
            become(question)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"code": code, "left": session_of(child)}), flush=True)


def session_of(leader: int) -> list[int]:
    """Processes of the session that a program began."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if os.getsid(pid) == leader:
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def become(question: dict[str, Any]) -> None:
    """Run the program; its exit is this process's."""
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, question["out"], os.O_WRONLY | os.O_CREAT),
        (2, question["err"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(question["environment"])
    os.chdir(question["folder"])
    how, what, *arguments = question["words"]
    sys.orig_argv = [sys.executable, *question["words"]]
    if how == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        sys.argv = ["-c", *arguments]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
