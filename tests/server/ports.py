"""Ports for servers that listen on them seconds later, so that nobody else takes them meanwhile.

SGLang draws a port for its ranks between 22000 and 29999, and the system gives those from 32768 on
to outgoing connections; these lie between.  One that is given out is locked until this process
ends, so other tests, of other processes too, get others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

PORTS = range(30000, 32768)

_kept: list[int] = []
"""Descriptors of the locks that this process holds."""


def free_port() -> int:
    """A port that nobody listens on, and that no test will be given until this process ends."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if _lock(port) and _bindable(port):
            return port
    raise OSError(f"no port from {PORTS[0]} to {PORTS[-1]} is free: other tests hold them all")


def _lock(port: int) -> bool:
    folder = Path(tempfile.gettempdir()) / "cachepawl-test-ports"
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    _kept.append(lock)
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as s, contextlib.suppress(OSError):
        s.bind(("0.0.0.0", port))
        return True
    return False
