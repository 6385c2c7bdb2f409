"""Open a trace: find its format, stream its requests, survive its bad lines if told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.files import numbered_lines
from cachepawl.offline.strict_json import parse_object
from cachepawl.offline.traces import mooncake
from cachepawl.offline.traces.order import Placed, in_order
from cachepawl.offline.traces.request import Record, TraceRequest, key_of


class Format(NamedTuple):
    """How one kind of file is read."""

    block_tokens: int
    records: Callable[[dict[str, Any]], Iterator[Record]]


FORMATS = {"mooncake": Format(mooncake.BLOCK_TOKENS, mooncake.records)}

MOST_SHOWN = 5
"""Bad lines that are kept word by word; the others are counted."""


class Skipped:
    """Bad lines of the latest reading."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []
        """What was wrong with the first few, each with its place."""

    def add(self, error: InputError) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < MOST_SHOWN:
            self.first.append(str(error))


class Trace:
    """A trace's file; `requests()` reads it from its start, each time anew."""

    def __init__(self, path: Path, name: str, skip_bad_lines: bool) -> None:
        self.path = path
        self.format = name
        self.block_tokens = FORMATS[name].block_tokens
        self.skip_bad_lines = skip_bad_lines
        self.skipped = Skipped()

    def requests(self) -> Iterator[TraceRequest]:
        """All requests by time.  InputError at what cannot be read."""
        self.skipped = Skipped()
        start = None
        for record in in_order(str(self.path), self._placed()):
            if start is None:
                start = record.at
            yield TraceRequest(
                record.at - start, key_of(record), record.output, record.conversation
            )
        if start is None:
            raise InputError(f"{self.path}: no usable line; is this a {self.format} trace?")

    def _placed(self) -> Iterator[Placed]:
        read = FORMATS[self.format].records
        for number, line in numbered_lines(self.path):
            where = f"{self.path}:{number}"
            try:
                found = list(self._read(read, line, where))
            except InputError as error:
                if not self.skip_bad_lines:
                    raise InputError(f"{error}; mend it or pass --skip-bad-lines") from None
                self.skipped.add(error)
                continue
            for record in found:
                yield number, record

    def _read(
        self, read: Callable[[dict[str, Any]], Iterator[Record]], line: str, where: str
    ) -> Iterator[Record]:
        value = parse_object(line, where)
        try:
            yield from read(value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def open_trace(path: Path, format: str = "auto", *, skip_bad_lines: bool = False) -> Trace:
    """The trace in a file.  InputError for a format that there is not."""
    name = "mooncake" if format == "auto" else format
    if name not in FORMATS:
        raise InputError(f"format {format!r}: give one of auto, {', '.join(FORMATS)}")
    return Trace(path, name, skip_bad_lines)
