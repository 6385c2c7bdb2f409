"""Runs in a process of its own: imports modules once, then is forked into a program per question.

    python fork_server.py MODULE...

Importing SGLang takes a quarter of a minute, so it is done once.  A question is a line of JSON on
stdin, its answer a line on stdout:

{"words": ["-m", "module", ...], ["-c", "code"] or ["file", ...], "environment": {...},
 "folder": "...", "out": "file", "err": "file", "spares": processes it may spawn}
                -> {"pid": the program's}
{"poll": pid}  -> {"code": None while it runs, "left": [processes that it has left behind]}

What a program sees is as if Python had been started with those words, but for the modules, which
are imported already, with the environment of this process.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

import setproctitle
import spares
from become import become

from cachepawl import collector


def main() -> None:
    collector.rest()
    # Looks for the place of a title, which cannot be found once the environment has changed; SGLang
    # finds its schedulers by their titles.
    setproctitle.getproctitle()
    for module in sys.argv[1:]:
        import_module(module)
    collector.resume()  # so that a child's collections look only at what is its own
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise SystemExit(f"{len(threads)} threads: a fork would lose all but one")
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        question = json.loads(line)
        if "poll" in question:
            answer = poll(question["poll"])
        else:
            child = os.fork()
            if child == 0:
                begin(question)
                return
            answer = {"pid": child}
        print(json.dumps(answer), flush=True)


def poll(child: int) -> dict[str, Any]:
    """Whether a program has ended, and how; asked again after its end, ChildProcessError."""
    ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        return {"code": None, "left": []}
    return {"code": os.waitstatus_to_exitcode(status), "left": session_of(child)}


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


def begin(question: dict[str, Any]) -> None:
    """Run the program in a session of its own; its exit is this process's."""
    os.setsid()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, question["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, question["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    if not spares.keep(question["spares"]):
        become(question["words"], question["environment"], question["folder"])


if __name__ == "__main__":
    main()
