"""Reads a recording, part by part, line by line, strictly.

Whatever is wrong is an InputError `FILE:LINE: ...`.  Memory: the prefixes that the log may
still name, which its writer bounds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cachepawl.errors import InputError, TruncatedInput
from cachepawl.offline.files import numbered_lines
from cachepawl.offline.recorded.fields import parse_fields
from cachepawl.offline.recorded.header import Header, parse_header
from cachepawl.offline.recorded.paths import Paths
from cachepawl.offline.strict_json import parse_json
from cachepawl.record.verbs import END, FORGET, SEGMENT, SPACE, VERBS

MOST_MS = 1 << 53


class Entry(NamedTuple):
    """A call or a note."""

    path: Path
    line: int
    number: int
    """Calls and notes before it, since the recording began."""
    at: float
    """Seconds since then."""
    verb: str
    fields: tuple[Any, ...]
    """As `verbs.VERBS` has them; keys are places."""

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


class Log:
    """A recording, from the part that was named to its last one."""

    def __init__(self, path: Path) -> None:
        """InputError unless `path` is a part of a recording."""
        self.path = path
        self.header = _header(path)
        self.paths = Paths(self.header.geometry.page_tokens)
        self.parts: list[Path] = []
        """Files read so far."""
        self.complete = False
        """Whether it was read to the end, and was closed; else its writer was stopped."""

    def entries(self) -> Iterator[Entry]:
        """Everything in order; may be called again, which begins again."""
        self.parts, self.complete = [], False
        number = self.header.line
        for path, header in self._files():
            self.parts.append(path)
            if header.line != number or self.complete:
                raise InputError(
                    f"{path}:1: begins with call {header.line}, the part before ends with call "
                    f"{number}; copy that part again"
                )
            for entry in self._entries(path, header):
                number = entry.number + 1
                yield entry

    def _files(self) -> Iterator[tuple[Path, Header]]:
        yield self.path, self.header
        part = self.header.part
        for path in _later(self.path):
            header = _header(path)
            if header.run != self.header.run:
                continue
            part += 1
            if header.part != part:
                raise InputError(
                    f"{path}:1: part {header.part} of this recording, but part {part} is missing"
                )
            if header.geometry != self.header.geometry:
                raise InputError(f"{path}:1: another geometry than in {self.path}")
            yield path, header

    def _entries(self, path: Path, header: Header) -> Iterator[Entry]:
        self.paths.forget()
        at, number = header.at, header.line
        rows: tuple[int, ...] | None = None
        for line, text in _whole_lines(path):
            if line == 1:
                continue
            where = f"{path}:{line}"
            if self.complete:
                raise InputError(f"{where}: a line after the end of the recording")
            value = parse_json(text, where)
            if not isinstance(value, list) or not value or not isinstance(value[0], str):
                raise InputError(f"{where}: an array that begins with a verb is needed")
            verb = value[0]
            try:
                if verb not in VERBS:
                    self._structure(verb, value[1:])
                    continue
                at += _step(value)
                fields, rows = parse_fields(verb, value[2:], self.paths, rows)
            except ValueError as error:
                raise InputError(f"{where}: {verb}: {error}") from None
            yield Entry(path, line, number, at / 1000, verb, fields)
            number += 1

    def _structure(self, verb: str, fields: list[Any]) -> None:
        """A line that says what later ones refer to."""
        types = [type(field) for field in fields]
        if verb == SEGMENT and types == [int, int, int, str]:
            self.paths.add_segment(*fields)
        elif verb == SPACE and types == [int, str]:
            self.paths.add_space(*fields)
        elif verb == FORGET and not fields:
            self.paths.forget()
        elif verb == END and not fields:
            self.complete = True
        else:
            raise ValueError(f"no such line; fields {str(fields)[:80]}")


def _step(value: list[Any]) -> int:
    if len(value) < 2 or type(value[1]) is not int or not 0 <= value[1] <= MOST_MS:
        raise ValueError("the second field is milliseconds since the line before")
    return value[1]


def _header(path: Path) -> Header:
    for line, text in numbered_lines(path):
        return parse_header(text, f"{path}:{line}")
    raise InputError(f"{path}: empty; not a log of --cachepawl-trace")


def _later(path: Path) -> Iterator[Path]:
    """FILE.1 and so on after FILE, FILE.N + 1 and so on after FILE.N, as far as there are files."""
    base, number = path.name, 0
    stem, _, last = base.rpartition(".")
    if not path.with_name(f"{base}.1").is_file() and stem and last.isascii() and last.isdigit():
        base, number = stem, int(last)
    while (later := path.with_name(f"{base}.{number + 1}")).is_file():
        yield later
        number += 1


def _whole_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a part; what a killed writer left half-written at its end is left out."""
    kept: tuple[int, str] | None = None
    try:
        for found in numbered_lines(path):
            if kept is not None:
                yield kept
            kept = found
    except TruncatedInput:
        if kept is not None:
            yield kept
        return
    if kept is not None and _ends_whole(path):
        yield kept


def _ends_whole(path: Path) -> bool:
    """Whether a plain file's last byte ends a line; compressed data is whole or truncated."""
    with path.open("rb") as file:
        head = file.read(1)
        file.seek(-1, os.SEEK_END)
        return head != b"{" or file.read(1) == b"\n"
