"""A recording as a trace of requests, for other budgets and other policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.requests import arrivals
from cachepawl.types import Key


class Arrival(NamedTuple):
    """One request; the fields of a `TraceRequest`, in its order."""

    at: float
    """Seconds since the first request of the recording; never decreases."""
    key: Key
    """The prompt: every token of a page is the page's hash."""
    output: int
    """Tokens of the answer."""
    conversation: str
    """Empty: a server is not told."""


class RecordedTrace:
    """What a server was asked, in the order it was; read anew each time."""

    format = "cachepawl"

    def __init__(self, path: Path) -> None:
        """InputError unless `path` is a part of a recording."""
        self.path = path
        self.log = Log(path)

    @property
    def block_tokens(self) -> int:
        """Tokens that the log knows as one: a page."""
        return self.log.header.geometry.page_tokens

    def requests(self) -> Iterator[Arrival]:
        """All requests that ran and ended.  InputError for a log without any."""
        start = None
        for request, key in arrivals(self.log):
            start = request.at if start is None else start
            yield Arrival(request.at - start, key, request.output, "")
        if start is None:
            raise InputError(f"{self.path}: no request of this recording came to its end")
