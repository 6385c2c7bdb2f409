"""The server as a child process: started, waited for, and gone afterwards whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from cachepawl_launch.demo.client import Client
from cachepawl_launch.demo.errors import DemoError

START_SECONDS = 300
GRACE_SECONDS = 8
"""Between asking the server to stop and making it stop."""
TAIL_LINES = 15
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """A running server, alone in its process group."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.log = log
        self.client = Client(port)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self, tell: Callable[[float], None]) -> None:
        """Return once it answers; `tell` hears the seconds so far.  DemoError if it never does."""
        start = time.monotonic()
        while (waited := time.monotonic() - start) < START_SECONDS:
            tell(waited)
            if not self.alive:
                raise self.died("while starting")
            if self.client.healthy():
                return
            time.sleep(0.2)
        raise DemoError(f"the server was not ready after {START_SECONDS} s\n{self.tail()}")

    def died(self, when: str) -> DemoError:
        """The error to raise when the server is gone, with the end of its log."""
        return DemoError(f"the server ended {when}, exit code {self.process.wait()}\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log, and where the rest is."""
        lines = self.log.read_text(errors="replace").splitlines()
        shown = "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])
        return f"{shown}\nits log: {self.log}"

    def stop(self) -> None:
        """End every process of it; returns when they are gone.  Safe to call twice."""
        with signals_held():
            family = _family(self.process.pid)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            # A process that left the group is still one that we have seen.
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=GRACE_SECONDS)
            self.process.wait()


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[Server]:
    """The server that `command` starts, not ready yet; `log` gets all it prints."""
    server = None
    try:
        # A signal between the birth of the process and its name would leave it behind.
        with signals_held(), log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=log.parent,
                # Ctrl-C reaches every process of the terminal's group: ours stops it instead.
                start_new_session=True,
            )
            server = Server(process, port, log)
        yield server
    finally:
        if server is not None:
            server.stop()


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that come meanwhile are delivered afterwards."""
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def exit_on_signals() -> None:
    """Let a closed terminal or a polite kill end us as Ctrl-C does, by an exception."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def choose_port(wanted: int | None) -> int:
    """`wanted`, or a free one; DemoError when `wanted` is taken."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", wanted or 0))
        except (OSError, OverflowError) as error:
            raise DemoError(
                f"--port {wanted}: {error}; leave --port out to use a free one", code=2
            ) from None
        return int(s.getsockname()[1])


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
