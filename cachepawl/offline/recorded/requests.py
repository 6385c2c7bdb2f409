"""The requests of a recording: what each asked, what it got, and why not more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from cachepawl.offline.recorded.log import Entry, Log
from cachepawl.offline.recorded.paths import Place
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.record.verbs import GAP
from cachepawl.types import Key

MOST_OPEN = 4096
"""Requests that have not ended, and in `arrivals` those that ended and wait for an older one:
beyond that, the oldest that has not ended was given up while it waited, which nobody says."""
RETRACTED = "retracted"
"""How a request leaves that is taken back to make room, and will be asked for again."""


class Missed(NamedTuple):
    """Prompt tokens that had to be computed, as `cachepawl.tree.Miss`."""

    reason: str
    tokens: int
    upto: int
    age: int | None
    by: str


class RecordedRequest(NamedTuple):
    """A request that ran."""

    ordinal: int
    """1 for the first that asked in these files."""
    number: int
    """Of the call that first asked for it."""
    at: float
    """Seconds from the start of the recording to that."""
    name: str
    """A salted hash of its id."""
    place: Place
    """Its prompt; `Log.paths.key` makes the key."""
    whole: Place | None
    """Its prompt with the answer, if that was published."""
    prompt: int
    hit: int | None
    """Tokens that this cache gave it, in a re-run; None where its state was not known."""
    recorded: int
    """Tokens that the recorded cache gave it."""
    cached: int
    """Tokens that the server said were cached."""
    from_host: int
    """Tokens of `recorded` that were loaded from the host for it."""
    output: int
    """Tokens of the answer."""
    missed: tuple[Missed, ...]
    how: str
    """How it ended: length, stop, abort."""


@dataclass
class Waiting:
    """A request that has asked and not ended."""

    ordinal: int
    number: int
    at: float
    place: Place
    prompt: int = 0
    recorded: int = 0
    hit: int | None = None
    missed: tuple[Missed, ...] = ()
    from_host: int = 0
    admitted: bool = False
    """Ran once and was retracted; later matches are not its hit."""


def requests_of(rerun: Rerun) -> Iterator[RecordedRequest]:
    """Runs a log again and yields its requests as they end.

    The prompt and the hit are those of the match with which it ran first, as SGLang counts.
    """
    scan = Scan()
    for entry in rerun.run():
        found = rerun.found
        hit = None if found is None or rerun.divergence else found.usable_len
        yield from scan.follow(entry, hit)


def arrivals(log: Log) -> Iterator[tuple[RecordedRequest, Key]]:
    """Requests and their prompts in the order in which they were first asked for.

    Nothing is run.  Those that never ended are left out.
    """
    scan = Scan()
    ended: list[tuple[int, RecordedRequest]] = []
    for entry in log.entries():
        for request in scan.follow(entry, None):
            heappush(ended, (request.number, request))
        if entry.verb != "ended":
            continue
        if len(ended) > MOST_OPEN:
            scan.give_up_oldest()
        first = scan.oldest
        while ended and (first is None or ended[0][0] < first):
            request = heappop(ended)[1]
            yield request, log.paths.key(request.place)
    for _, request in sorted(ended):
        yield request, log.paths.key(request.place)


class Scan:
    """Puts the entries about a request together."""

    def __init__(self) -> None:
        self.asking: Waiting | None = None
        """Who asked just now, unless it had run before."""
        self.count = 0
        """Requests that have asked."""
        self._open: OrderedDict[str, Waiting] = OrderedDict()
        self._match: Entry | None = None
        self._published: dict[int, Place] = {}

    @property
    def oldest(self) -> int | None:
        """The number of the oldest request that has not ended."""
        for request in self._open.values():
            return request.number
        return None

    def give_up_oldest(self) -> None:
        """Expect no end of it any more."""
        if self._open:
            self._open.popitem(last=False)

    def follow(self, entry: Entry, hit: int | None) -> Iterator[RecordedRequest]:
        """The request that ends here, if one does; `hit` is what the latest match gave."""
        self.asking = None
        if entry.verb in ("match", "host_match"):
            self._match = entry
        elif entry.verb == "publish":
            self._published[entry.fields[1]] = entry.fields[0]
        elif entry.verb == "asked" and self._match is not None:
            self._ask(entry, self._match, hit)
            self._match = None
        elif entry.verb == "host_brought":
            self._bring(entry)
        elif entry.verb == "ended":
            yield from self._end(entry)
        elif entry.verb == GAP:
            # Who asked and what was published may be among the lost.
            self._match = None
            self._published.clear()

    def _ask(self, entry: Entry, match: Entry, hit: int | None) -> None:
        name, prompt, usable, _, missed = entry.fields
        request = self._open.get(name)
        if request is None:
            self.count += 1
            request = Waiting(self.count, match.number, match.at, match.fields[0])
            self._open[name] = request
            if len(self._open) > MOST_OPEN:
                self.give_up_oldest()
        if not request.admitted:
            request.prompt, request.recorded = prompt, usable
            request.hit = hit if hit is None or usable else 0
            request.missed = tuple(Missed(*why) for why in missed)
            self.asking = request

    def _bring(self, entry: Entry) -> None:
        name, _, tokens = entry.fields
        request = self._open.get(name)
        if request is not None and not request.admitted:
            request.from_host = tokens

    def _end(self, entry: Entry) -> Iterator[RecordedRequest]:
        name, row, cached, answered, how = entry.fields
        whole = self._published.pop(row, None)
        request = self._open.get(name)
        if request is None:
            return
        if how == RETRACTED:
            request.admitted = True
            return
        del self._open[name]
        yield RecordedRequest(
            ordinal=request.ordinal,
            number=request.number,
            at=request.at,
            name=name,
            place=request.place,
            whole=whole,
            prompt=request.prompt,
            hit=request.hit,
            recorded=request.recorded,
            cached=cached,
            from_host=request.from_host,
            output=answered,
            missed=request.missed,
            how=how,
        )
