"""Open a trace: find its format, stream its requests, survive its bad lines if told so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cachepawl.errors import InputError
from cachepawl.offline.files import raw_lines, read_text, text_of
from cachepawl.offline.recorded.first_look import is_recording
from cachepawl.offline.strict_json import parse_object
from cachepawl.offline.traces.fields import Fields, shown
from cachepawl.offline.traces.formats import RECORDING, Format, Options, looks_like, named
from cachepawl.offline.traces.request import Record, Skipped, TraceRequest, key_of

MOST_SHOWN = 5
"""Bad lines that are kept word by word; the others are counted."""
MOST_GAP = 1e7
MOST_PROBED = 100
"""Lines that are looked at to find the format."""


class Trace(Protocol):
    """A trace's file, whatever its format."""

    format: str
    skipped: Skipped

    @property
    def block_tokens(self) -> int:
        """Tokens that the trace knows as one."""

    def requests(self) -> Iterator[TraceRequest]:
        """All requests by time, from the start at each call.  InputError at what is bad."""


class ObjectTrace:
    """A file of JSON objects; `requests()` reads it from its start, each time anew.

    Memory is bounded by the requests that wait for their turn, never by the file.
    """

    def __init__(self, path: Path, name: str, skip_bad_lines: bool, options: Options) -> None:
        self.path = path
        self.format = name
        self.skip_bad_lines = skip_bad_lines
        self.options = options
        self.skipped = Skipped()
        self._format: Format = named(name)

    @property
    def block_tokens(self) -> int:
        """Tokens that the trace knows as one."""
        return self._format.block_tokens

    def requests(self) -> Iterator[TraceRequest]:
        """All requests by time.  InputError at what cannot be read."""
        self.skipped = Skipped()
        start = None
        lines = self._lines()
        for record in self._format.timeline(lines, self._refuse, self.options):
            start = record.at if start is None else start
            yield TraceRequest(
                record.at - start, key_of(record), record.output, record.conversation
            )
        if start is None:
            why = f"; {self.skipped.first[0]}" if self.skipped.count else ""
            raise InputError(f"{self.path}: no line of it is a {self.format} request{why}")

    def _lines(self) -> Iterator[tuple[str, list[Record]]]:
        """Places of good lines and what each of them holds."""
        read = self._format.reader(self.options)
        for number, (place, raw) in enumerate(_raw(self.path), 1):
            try:
                records = list(read(_parsed(raw), number))
            except InputError as error:
                self._refuse(place, str(error))
            else:
                yield place, records

    def _refuse(self, place: str, what: str) -> None:
        """A bad line ends the reading or is counted."""
        if not self.skip_bad_lines:
            raise InputError(f"{place}: {what}; mend it or pass --skip-bad-lines")
        self.skipped.count += 1
        if len(self.skipped.first) < MOST_SHOWN:
            self.skipped.first.append(f"{place}: {what}")


def open_trace(
    path: Path,
    format: str = "auto",
    *,
    skip_bad_lines: bool = False,
    options: Options | None = None,
) -> Trace:
    """The trace in a file (plain, gzip or zstd), or in a folder of one JSON file an object.

    A recording of a server is a trace too; of it no line may be bad.

    `format` is the name of one or `auto`.  InputError if the file's lines tell none, or
    another than the one that was named, and for options out of range.
    """
    options = options or Options()
    if not 0 <= options.gap <= MOST_GAP:
        raise InputError(f"gap {options.gap}: give seconds from 0 to {MOST_GAP:g}")
    if is_recording(path):
        if format not in ("auto", RECORDING):
            raise InputError(
                f"{path}: looks like {RECORDING}, not {format}; leave --trace-format out"
            )
        from cachepawl.offline.traces.recording import RecordedTrace  # brings pydantic

        return RecordedTrace(path)
    if format != "auto":
        named(format)
    found, place = _probe(path)
    if found is None and format == "auto":
        raise InputError(f"{place}: no known kind of trace; name it with --trace-format")
    if found is not None and format not in ("auto", found):
        raise InputError(
            f"{place}: looks like {found}, not {format}; pass --trace-format {found} or auto"
        )
    name = format if found is None else found
    return ObjectTrace(path, name, skip_bad_lines, options)


def _probe(path: Path) -> tuple[str | None, str]:
    """The format that the first telling line tells, if one does, and that line's place."""
    first = ""
    for count, (place, raw) in enumerate(_raw(path)):
        if count == MOST_PROBED:
            break
        try:
            value = _parsed(raw)
        except InputError as error:
            first = first or f"{place}: {error}"
            continue
        if (found := looks_like(value)) is not None:
            return found, place
        first = first or f"{place}: fields {shown(sorted(value))}"
    return None, first or f"{path}: empty"


def _raw(path: Path) -> Iterator[tuple[str, bytes]]:
    """Lines of a file, or the JSON files of a folder by name; each with its place."""
    if not path.is_dir():
        for number, raw in raw_lines(path):
            yield f"{path}:{number}", raw
        return
    files = sorted(path.glob("*.json"))
    if not files:
        raise InputError(f"{path}: a folder without .json files; name a trace's file")
    for file in files:
        yield str(file), read_text(file).encode()


def _parsed(raw: bytes) -> Fields:
    """A line's object; the errors leave out the place."""
    return parse_object(text_of(raw, "text"), "line")
