"""From the scheduler to the writer: a bounded queue, a thread, a pipe.

The scheduler's part is `put`: an append.  Whatever goes wrong behind it (a slow disk, a full
one, a writer that died) costs the recording and never the server: lines are left out and
counted, or the recording stops, and the log says so once.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from cachepawl.errors import ConfigError
from cachepawl.record.hashes import make_salt
from cachepawl.record.recording import Record
from cachepawl.record.verbs import GAP
from cachepawl.record.wire import CLOSE, Start, pack
from cachepawl.record.writer import READY

logger = logging.getLogger(__name__)
MOST_BYTES = 64 << 20
"""Of records that wait.  Keys are the caller's own bytes, not copies."""
RECORD_BYTES = 400
"""What a record counts beside its key."""
FRAME_BYTES = 1 << 18
"""Records are sent so many bytes at a time: the interpreter's lock is held no longer."""
PAUSE_SECONDS = 0.05
"""Between two looks at the queue."""
TICK_SECONDS = 1.0
"""After which an idle scheduler's last records are flushed."""
PIPE_BYTES = 1 << 20
START_SECONDS = 30.0
CLOSE_SECONDS = 5.0


def _size(record: Record) -> int:
    third = record[2] if len(record) > 2 else None
    return RECORD_BYTES + (len(third) if type(third) is bytes else 0)


class Sender:
    """Takes records from one thread and hands them to a writer process."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._limit = most_bytes
        self._queue: deque[Record] = deque()
        self._queued = 0  # bytes ever queued; only `put` writes it
        self._sent = 0  # bytes ever sent; only the thread writes it
        self._lost = 0
        self._gaps = 0
        self._closing = False
        self.path: Path | None = None
        """The first file, once the writer has made it."""
        self.stopped = False
        """Whether the writer is gone: nothing is recorded any more."""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="cachepawl-trace", daemon=True)

    # -- the scheduler's side ---------------------------------------------------------

    def put(self, record: Record) -> None:
        """Queue a record, or count it as lost.  Never waits."""
        size = _size(record)
        if self._queued + size - self._sent > self._limit:
            self._lose()
            return
        if self._lost:
            self._resume(record)
        self._queued += size
        self._queue.append(record)

    def _lose(self) -> None:
        if self.stopped:
            self._limit = -1
            self._queue.clear()
        elif self._limit == self._most:
            # Half of it has to be free before it goes on, so that gaps are few.
            self._limit = self._most // 2
            self._gaps += 1
            if self._gaps == 1:
                logger.warning(
                    "cachepawl: the recording cannot keep up (%d bytes wait); calls are left out "
                    "until it can, and the log counts them",
                    self._queued - self._sent,
                )
        self._lost += 1

    def _resume(self, record: Record) -> None:
        self._limit = self._most
        self._queued += RECORD_BYTES
        self._queue.append((GAP, record[1], self._lost))
        self._lost = 0

    # -- start and end ------------------------------------------------------------------

    def start(
        self, path: Path, setup: dict[str, Any], *, salt: str | None, part_bytes: int
    ) -> None:
        """Start the writer; what was put before comes first.  ConfigError when it cannot."""
        started = {**setup, "started": time.time()}
        first = Start(str(path.absolute()), make_salt(salt), part_bytes, time.monotonic(), started)
        # Without the working directory in its path, where modules of any name may be.
        command = [sys.executable, "-P", "-m", "cachepawl.record.writer"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pipesize=PIPE_BYTES
        )
        watch = threading.Timer(START_SECONDS, self._process.kill)
        watch.start()
        with contextlib.suppress(OSError):
            self._write(pack(tuple(first)))
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        watch.cancel()
        if not answer.startswith(READY):
            raise ConfigError(f"--cachepawl-trace {self._last_words()}")
        self.path = Path(answer.removeprefix(READY).strip().decode("utf-8", "surrogateescape"))
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Send what waits and end the log; waits for it a few seconds at most."""
        atexit.unregister(self.close)
        if self._process is None or not self._thread.is_alive():
            return
        self._closing = True
        self._thread.join(CLOSE_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._send_until_closed()
            if self._lost:
                self._write(pack([(GAP, time.monotonic(), self._lost)]))
            self._write(pack(CLOSE))
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            self.stopped = True
            self._limit = -1
            logger.warning("cachepawl: the recording stopped: %s", self._last_words())

    def _send_until_closed(self) -> None:
        ticked, unflushed = time.monotonic(), False
        while True:
            closing = self._closing  # read before the queue: nothing is put after it was set
            while batch := self._take():
                self._write(pack(batch))
                self._sent += sum(map(_size, batch))
                unflushed = True
            if closing:
                return
            now = time.monotonic()
            if now - ticked >= TICK_SECONDS:
                ticked = now
                if unflushed:
                    self._write(pack([]))
                    unflushed = False
            time.sleep(PAUSE_SECONDS)

    def _take(self) -> list[Record]:
        batch: list[Record] = []
        size = 0
        while self._queue and size < FRAME_BYTES:
            batch.append(self._queue.popleft())
            size += _size(batch[-1])
        return batch

    def _write(self, frame: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(frame)
        self._process.stdin.flush()

    def _last_words(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        try:
            code = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return "the writer does not answer"
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"the writer ended with code {code}"
