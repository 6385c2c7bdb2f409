"""Records of a file onto one timeline: sorted as they are, or conversations set side by side."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heappushpop, heapreplace
from itertools import count

from cachepawl.offline.traces.request import Record

WINDOW = 256
"""Records that wait so that a later line with an earlier time still finds its place."""

Lines = Iterable[tuple[str, list[Record]]]
"""Where a line is, and its records."""
Refuse = Callable[[str, str], None]
"""Told of a bad line: where it is and what is wrong.  Raises, or counts it."""


def by_time(lines: Lines, refuse: Refuse, window: int = WINDOW) -> Iterator[Record]:
    """The records by time, of equal times in the file's order.

    A record more than `window` records late is refused.
    """
    waiting: list[tuple[float, int, Record]] = []
    last = float("-inf")
    arrived = count()
    for place, records in lines:
        for record in records:
            if record.at < last:
                refuse(
                    place,
                    f"time {record.at:g} s comes after {last:g} s, more than {window} requests "
                    "late; sort the file by time",
                )
                continue
            entry = (record.at, next(arrived), record)
            if len(waiting) < window:
                heappush(waiting, entry)
                continue
            last, _, ready = heappushpop(waiting, entry)
            yield ready
    while waiting:
        yield heappop(waiting)[-1]


def side_by_side(lines: Lines, seed: int, gap: float) -> Iterator[Record]:
    """Each line's records as a conversation that starts at a random time.

    Starts are a Poisson process in the file's order: exponential gaps of `gap` seconds on
    average, the same for the same seed.  Only conversations that run are in memory.
    """
    draw = random.Random(seed)
    start = 0.0
    running: list[tuple[float, int, float, list[Record]]] = []
    for number, (_, records) in enumerate(lines):
        start += draw.expovariate(1.0) * gap
        yield from _until(start, running)
        records.reverse()
        heappush(running, (start + records[-1].at, number, start, records))
    yield from _until(float("inf"), running)


def _until(end: float, running: list[tuple[float, int, float, list[Record]]]) -> Iterator[Record]:
    """What the running conversations send before `end`."""
    while running and running[0][0] < end:
        at, number, start, records = running[0]
        yield records.pop()._replace(at=at)
        if records:
            heapreplace(running, (start + records[-1].at, number, start, records))
        else:
            heappop(running)
