"""Processes that a program spawns with `multiprocessing` are there before it asks for them.

`keep` forks them before the program begins, so a spare has what was imported by then and nothing
of what the program does later, as a spawned process has nothing of it.  Its parent is the program,
its environment, folder, arguments and descriptors are those of the moment when it is asked for.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Sequence
from multiprocessing import util
from typing import NamedTuple

from become import become

MOST = 1 << 20
"""Bytes of a question, and an upper bound of descriptor numbers."""
ABOVE = 512
"""Descriptors are kept from here on until all of them have their places."""
SPAWNED = "--multiprocessing-fork"
"""The argument by which `multiprocessing` knows a process that it has spawned."""


class Spare(NamedTuple):
    """A process that waits to be asked."""

    pid: int
    channel: socket.socket


_spawn = util.spawnv_passfds
_spares: list[Spare] = []


def keep(count: int) -> bool:
    """Fork `count` spares; returns in each of them too, after its work, with True."""
    for _ in range(count):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            here.close()
            for other in _spares:
                other.channel.close()
            _stand_by(there)
            return True
        there.close()
        _spares.append(Spare(pid, here))
    util.spawnv_passfds = _take
    return False


def _take(path: bytes | str, args: Sequence[str], passfds: Sequence[int]) -> int:
    """`multiprocessing.util.spawnv_passfds`, from the spares while there are any."""
    if not _spares or SPAWNED not in args:
        return _spawn(path, args, passfds)
    spare = _spares.pop()
    question = {
        "words": list(args[list(args).index("-c") :]),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "numbers": list(passfds),
    }
    socket.send_fds(spare.channel, [json.dumps(question).encode()], list(passfds))
    spare.channel.close()
    return spare.pid


def _stand_by(channel: socket.socket) -> None:
    """Wait for a question and become it; nothing, when the program ends without one."""
    message, received, _, _ = socket.recv_fds(channel, MOST, 64)
    if not message:
        return
    channel.close()
    question = json.loads(message)
    _place(received, question["numbers"])
    become(question["words"], question["environment"], question["folder"])


def _place(received: Sequence[int], numbers: Sequence[int]) -> None:
    """Give every descriptor the number that it has in the parent."""
    kept = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, ABOVE) for one in received]
    for one in received:
        os.close(one)
    for one, number in zip(kept, numbers, strict=True):
        os.dup2(one, number)
        os.close(one)
