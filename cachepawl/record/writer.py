"""The writer: `python -m cachepawl.record.writer`, records in on stdin, files out.

A process of its own, so that hashing and compressing take nothing from the scheduler, and so
that it outlives a scheduler that is killed: at the end of its input it completes the file.
Says `ready FILE` on stdout once the first file is there; what is wrong is one line on stderr.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from pathlib import Path

from cachepawl.record.encoder import Encoder, header_line
from cachepawl.record.parts import Part, open_part
from cachepawl.record.wire import CLOSE, Start, frames

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 1 << 20
"""Of text, after which what is written is made readable early, and the size is looked at."""
READY = b"ready "
FAILED = 3


class Writer:
    """The files of one recording.  OSError when the disk does not take them."""

    def __init__(self, start: Start) -> None:
        self._start = start
        page_tokens = start.setup["geometry"]["page_tokens"]
        self._encoder = Encoder(start.salt, page_tokens, start.clock)
        self._run = secrets.token_hex(6)
        self._number = 0
        self._part = -1
        self._file = self._next_file()
        self._flushed = time.monotonic()

    @property
    def path(self) -> Path:
        """The file being written."""
        return self._file.path

    @property
    def lines(self) -> int:
        """Records taken in so far."""
        return self._encoder.lines

    def _next_file(self) -> Part:
        file, number = open_part(Path(self._start.path), self._number)
        self._number = number + 1
        self._part += 1
        at, lines = self._encoder.at, self._encoder.lines
        file.write(header_line(self._start.setup, self._run, self._part, at, lines))
        file.flush()
        return file

    def add(self, records: list[tuple[object, ...]]) -> None:
        """Some more records; none says that no more come for now, so what there is can be read."""
        now = time.monotonic()
        if records:
            self._file.write(self._encoder.text(records))
            if self._file.unflushed < FLUSH_BYTES and now - self._flushed < FLUSH_SECONDS:
                return
        self._flushed = now
        self._file.flush()
        if self._file.size >= self._start.part_bytes:
            self._file.close()
            self._encoder.new_part()
            self._file = self._next_file()

    def close(self, *, complete: bool) -> None:
        """The last file is whole; `complete` when nothing was left unsaid."""
        if complete:
            self._file.write(self._encoder.end())
        self._file.close()


def main() -> int:
    """Write until the input ends; the exit code is 0 when all was written."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever stops the server stops it; this ends when its input does.
        signal.signal(number, signal.SIG_IGN)
    stream = frames(sys.stdin.buffer)
    writer, path, complete = None, "", False
    try:
        start = Start(*next(stream))
        path = start.path
        writer = Writer(start)
        sys.stdout.buffer.write(READY + os.fsencode(writer.path) + b"\n")
        sys.stdout.flush()
        for records in stream:
            if records is CLOSE:
                complete = True
                break
            path = str(writer.path)
            writer.add(records)
        writer.close(complete=complete)
    except OSError as error:
        told = f" after {writer.lines} calls" if writer else ""
        print(f"{path}: {error.strerror or error}{told}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
