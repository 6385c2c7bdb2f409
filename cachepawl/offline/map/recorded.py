"""The cache of a recording at a chosen point: run again up to there, then drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InputError
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.picture import Picture, parse_picture
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun


def picture_at(
    path: Path,
    *,
    seconds: float | None,
    operation: int | None,
    nodes: int,
    cells: int,
    advance: Callable[[float], None],
) -> tuple[Picture, int]:
    """The recorded cache as it was `seconds` after its start, or after so many operations.

    The end of the recording where neither is given.  Also returns how many operations that
    was.  InputError for a damaged recording, one that is shorter, and a point where the
    state of the cache is not known.  `advance` is told of every operation.
    """
    log = Log(path)
    if seconds is not None:
        operation = _operations_until(log, seconds)
    rerun = Rerun(log)
    done = log.header.line
    if operation is not None and operation < done:
        raise InputError(f"{path}: begins with operation {done}; name an earlier part of it")
    if operation is None or operation > done:
        for entry in rerun.run():
            done = entry.number + 1
            advance(1)
            if done == operation:
                break
    if operation is not None and done < operation:
        raise InputError(f"{path}: ends after {done} operations, {operation} are asked for")
    cache, tier = _known(rerun, done), rerun.tier
    drawn = snapshot(cache, nodes, cells, None if tier is None else tier.host)
    return parse_picture(drawn, str(path)), done


def _operations_until(log: Log, seconds: float) -> int:
    """How many operations were over by then."""
    done = log.header.line
    for entry in log.entries():
        if entry.at > seconds:
            break
        done = entry.number + 1
    return done


def _known(rerun: Rerun, done: int) -> HybridPrefixCache:
    path = rerun.log.path
    if rerun.divergence is not None:
        raise InputError(f"the re-run is not what was recorded: {rerun.divergence}")
    if rerun.cache is None:
        raise InputError(
            f"{path}: the cache is not known after operation {done}: the start of the recording is "
            "missing, or something was lost; name the first part, or a point behind the next reset"
        )
    return rerun.cache
