"""The trace of a replay, as a recipe that travels to other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cachepawl.offline.traces import Trace, TraceRequest, open_trace
from cachepawl.offline.traces.formats import Options
from cachepawl.types import TOKEN_BYTES

TICK = 64
"""Requests between two signs of progress."""
Tick = Callable[[int], None]
"""Told of requests done since the last call."""


def no_tick(_: int) -> None:
    """Nobody watches."""


class Source(NamedTuple):
    """What to read."""

    path: Path
    format: str = "auto"
    skip_bad_lines: bool = False
    limit: int | None = None
    """Requests to read at most; None is all."""
    options: Options = Options()
    """How conversations without a common clock are set side by side."""

    def open(self) -> Trace:
        """The trace.  InputError for what cannot be read."""
        return open_trace(
            self.path,
            self.format,
            skip_bad_lines=self.skip_bad_lines,
            options=self.options,
        )

    def requests(self, tick: Tick = no_tick) -> Iterator[TraceRequest]:
        """The requests in order of their times, from the start at each call."""
        done = 0
        for done, request in enumerate(islice(self.open().requests(), self.limit), 1):
            yield request
            if done % TICK == 0:
                tick(TICK)
        tick(done % TICK)


class Facts(NamedTuple):
    """What one reading of a trace finds; tokens."""

    format: str
    block_tokens: int
    requests: int
    prompt_tokens: int
    output_tokens: int
    longest_prompt: int
    seconds: float
    """From the first request to the last."""
    skipped: int
    """Lines that could not be used."""
    first_skipped: list[str]
    """What was wrong with the first few of them."""


def facts_of(source: Source) -> Facts:
    """Read the trace once.  InputError for a bad line, and for a trace without any."""
    trace = source.open()
    count = prompt = output = longest = 0
    last = 0.0
    for request in islice(trace.requests(), source.limit):
        tokens = len(request.key.tokens) // TOKEN_BYTES
        last = request.at
        count += 1
        prompt += tokens
        output += request.output
        longest = max(longest, tokens)
    return Facts(
        format=trace.format,
        block_tokens=trace.block_tokens,
        requests=count,
        prompt_tokens=prompt,
        output_tokens=output,
        longest_prompt=longest,
        seconds=last,
        skipped=trace.skipped.count,
        first_skipped=trace.skipped.first,
    )
