"""A recording of a server as a trace, for other budgets and other policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.requests import arrivals
from cachepawl.offline.traces.formats import RECORDING
from cachepawl.offline.traces.request import Skipped, TraceRequest


class RecordedTrace:
    """What a server was asked, in the order it was; read anew each time.

    Prompts are keys whose every token of a page is the page's hash.
    """

    format = RECORDING

    def __init__(self, path: Path) -> None:
        """InputError unless `path` is a part of a recording."""
        self.path = path
        self.log = Log(path)
        self.skipped = Skipped()
        """Nothing ever: a recording with a bad line is damaged."""

    @property
    def block_tokens(self) -> int:
        """Tokens that the log knows as one: a page."""
        return self.log.header.geometry.page_tokens

    def requests(self) -> Iterator[TraceRequest]:
        """All requests that ran and ended.  InputError for a log without any."""
        start = None
        for request, key in arrivals(self.log):
            start = request.at if start is None else start
            yield TraceRequest(request.at - start, key, request.output, "")
        if start is None:
            raise InputError(f"{self.path}: no request of this recording came to its end")
