"""Servers and programs that find SGLang imported, for it takes each process 20 s of CPU time.

They run the same command line in the same processes as others.  What is different is when, and in
what environment, SGLang was imported; so this is for those that need no environment of their own at
its import.  One process of a pytest worker imports for all of them.  The demo and others are
started as a user starts them, and with ``CACHEPAWL_TESTS_SPAWN=1`` all are.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from forked import Forked, Program

from cachepawl_launch.cpu.flags import serve_env

MODULES = [
    "sglang.launch_server",
    "sglang.srt.entrypoints.http_server",
    "sglang.srt.managers.detokenizer_manager",
    "sglang.srt.managers.scheduler",
    "sglang.srt.models.registry",
]
"""What SGLang's three processes import; the models a scheduler imports after its plugins."""
CHILDREN = 3
"""Two schedulers and a detokenizer; a process more would import for itself."""


def allowed() -> bool:
    """Whether servers and programs may be started so."""
    return os.environ.get("CACHEPAWL_TESTS_SPAWN", "") != "1"


def start(words: Sequence[str], log: Path, late: Mapping[str, str]) -> Program:
    """`python WORDS`, a server's command line, in the folder of its log.

    `late` is of its environment too, and no module reads it while it is imported.
    """
    environment = os.environ | serve_env() | late
    return forked().start(words, environment, log.parent, out=log, err=log, spares=CHILDREN)


def run(
    words: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """`python WORDS` in a folder and in an environment on this platform; returns after its end."""
    environment = environment | serve_env()
    if allowed():
        return forked().run(words, environment, folder)
    call = [sys.executable, *words]
    return subprocess.run(call, env=environment, cwd=folder, capture_output=True, text=True)


@functools.cache
def forked() -> Forked:
    """Made when it is first needed; it ends when this process does."""
    return Forked(MODULES, os.environ | serve_env()).__enter__()
