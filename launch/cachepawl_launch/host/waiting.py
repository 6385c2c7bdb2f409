"""Requests that wait for a load are out of the queue while SGLang fills a batch.

SGLang's loop over the queue cannot skip one request: the first that is refused ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def split(queue: Sequence[Any], waits: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    """Those that can be admitted, and those that wait, both in order."""
    ready: list[Any] = []
    waiting: list[Any] = []
    for req in queue:
        (waiting if waits(req) else ready).append(req)
    return ready, waiting


def join(before: Sequence[Any], after: Sequence[Any], waiting: Sequence[Any]) -> list[Any]:
    """The queue again: `after` is what the call left of it, `waiting` what was taken out.

    What stood in the queue `before` keeps its order, for SGLang sorts again whenever it fills
    a batch; what is new comes behind.
    """
    if not waiting:
        return list(after)
    place = {id(req): at for at, req in enumerate(before)}
    return sorted([*after, *waiting], key=lambda req: place.get(id(req), len(place)))
