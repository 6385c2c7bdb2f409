"""A stretch of time that work must not outlast: a borrowed GPU is lent for minutes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 540
"""Ten minutes, with one to start and to end in."""


class OutOfTime(BaseException):
    """No `Exception`: what records errors and goes on must not go on here."""


class Budget:
    """So many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; 0 when there are none."""
        return max(0.0, self._ends - time.monotonic())

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """OutOfTime inside when the time is up, at once if it is.  In the main thread only.

        A call into a driver that never returns is not interrupted: nothing in the process can.
        """
        if not self.left:
            raise OutOfTime
        before = signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, self.left)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _raise(*_: Any) -> None:
    raise OutOfTime
