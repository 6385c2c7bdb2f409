"""Servers whose processes find SGLang imported, for it takes each of them 20 s of CPU time.

They run the same command line in the same processes as other servers.  What is different is when,
and in what environment, SGLang was imported; so this is for servers that need no environment of
their own.  The demo, the ranks and others are started as a user starts them, and with
``CACHEPAWL_TESTS_SPAWN=1`` all are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from forked import Forked, Program

from cachepawl_launch.cpu.flags import serve_env

MODULES = [
    "sglang.launch_server",
    "sglang.srt.entrypoints.http_server",
    "sglang.srt.managers.detokenizer_manager",
    "sglang.srt.managers.scheduler",
]
"""What SGLang's three processes import first, before a plugin is loaded."""
CHILDREN = 2
"""A scheduler and a detokenizer; a process more would import for itself."""


def allowed() -> bool:
    """Whether servers may be started so."""
    return os.environ.get("CACHEPAWL_TESTS_SPAWN", "") != "1"


def start(words: Sequence[str], log: Path) -> Program:
    """`python WORDS`, a server's command line, in the folder of its log."""
    environment = os.environ | serve_env()
    return _forked().start(words, environment, log.parent, out=log, err=log, spares=CHILDREN)


@functools.cache
def _forked() -> Forked:
    """Made when it is first needed; it ends when this process does."""
    return Forked(MODULES, os.environ | serve_env()).__enter__()
