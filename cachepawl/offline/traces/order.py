"""Records into the order of their time, as far as a small window can do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heappushpop

from cachepawl.errors import InputError
from cachepawl.offline.traces.request import Record

WINDOW = 256
"""Records that wait so that a later line with an earlier time still finds its place."""

Placed = tuple[int, Record]
"""The line and the record it gave."""


def in_order(path: str, placed: Iterable[Placed], window: int = WINDOW) -> Iterator[Record]:
    """The records by time; of equal times in the file's order.

    InputError for a record that is more than `window` records late.
    """
    waiting: list[tuple[float, int, int, Record]] = []
    last = float("-inf")
    for count, (line, record) in enumerate(placed):
        if record.at < last:
            raise InputError(
                f"{path}:{line}: time {record.at:g} s comes after {last:g} s, more than {window} "
                "records late; sort the file by time"
            )
        entry = (record.at, count, line, record)
        if len(waiting) < window:
            heappush(waiting, entry)
            continue
        last, _, _, ready = heappushpop(waiting, entry)
        yield ready
    while waiting:
        yield heappop(waiting)[-1]
