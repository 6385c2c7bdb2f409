"""Records to lines: keys become places and hashes, names become hashes, time becomes steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cachepawl.record.hashes import name_hash
from cachepawl.record.prefixes import MOST_BYTES, KnownPrefixes, Line
from cachepawl.record.recording import Record
from cachepawl.record.verbs import END, VERBS, Kind

_PLACES = {
    verb: tuple(
        (at, kind)
        for at, kind in enumerate(fields.fields)
        if kind in (Kind.KEY, Kind.NAME, Kind.ROWS)
    )
    for verb, fields in VERBS.items()
}
"""Fields that are not written as they came; a key is the first of its verb, if at all."""
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Encoder:
    """Lines of one part after another; `start` is the time of the first, in seconds."""

    def __init__(
        self, salt: bytes, page_tokens: int, start: float, most_bytes: int = MOST_BYTES
    ) -> None:
        self._salt = salt
        self._known = KnownPrefixes(salt, page_tokens, most_bytes)
        self._start = start
        self._rows: object = None
        self.at = 0
        """Milliseconds from the start to the latest line."""
        self.lines = 0
        """Records encoded so far."""

    def new_part(self) -> None:
        """What follows has to be understood without what came before."""
        self._known.clear()
        self._rows = None

    def text(self, records: Sequence[Record]) -> str:
        """Lines for the records, in order, each with its end."""
        lines: list[Line] = []
        for record in records:
            self._add(record, lines)
        self.lines += len(records)
        return "".join(_dumps(line) + "\n" for line in lines)

    def end(self) -> str:
        """The last line of a recording that was closed."""
        return _dumps([END]) + "\n"

    def _add(self, record: Record, lines: list[Line]) -> None:
        verb, when, *fields = record
        assert isinstance(verb, str)
        assert isinstance(when, float)
        for at, kind in _PLACES[verb]:
            if kind is Kind.KEY:
                fields[:2] = [self._known.place(fields[0], fields[1], lines)]  # type: ignore[arg-type]
            elif kind is Kind.NAME:
                fields[at] = name_hash(self._salt, str(fields[at]))
            elif fields[at] == self._rows:
                fields[at] = None
            else:
                self._rows = fields[at]
        now = max(int((when - self._start) * 1000), self.at)
        lines.append([verb, now - self.at, *fields])
        self.at = now


def header_line(setup: dict[str, Any], run: str, part: int, at: int, lines: int) -> str:
    """The first line of a part: the setup, and where in the recording it begins."""
    return _dumps({**setup, "run": run, "part": part, "at": at, "line": lines}) + "\n"
