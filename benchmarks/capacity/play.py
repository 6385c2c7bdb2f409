"""Plays the workload on one layout, and says how much of the budget lived."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.capacity.policy import Layout
from benchmarks.capacity.workload import Arrival

PATIENCE = 100_000
"""Steps without anyone running and without an admission that count as a deadlock."""


class Played(NamedTuple):
    """One run."""

    live_fraction: float
    """Mean over the steps in which somebody waited, of live bytes over the budget."""
    steps: int
    idle_waits: int
    """Steps in which nothing ran and the next request still had to wait."""


def play(layout: Layout, requests: Iterable[Arrival], budget: int, *, keep: bool) -> Played:
    """Admit in order as much as there is room for, then one page for everyone, and again.

    Ends when all have ended.  AssertionError for a deadlock.
    """
    waiting = deque(requests)
    left: dict[int, int] = {}
    live = steps = idle = in_a_row = 0
    while waiting or left:
        while waiting and layout.admit(waiting[0], sum(left.values())):
            request = waiting.popleft()
            left[request.number] = request.answer
        if not left:
            idle += 1
            in_a_row += 1
            if in_a_row > PATIENCE:
                raise AssertionError(f"{layout.name}: deadlock before request {waiting[0]}")
            continue
        in_a_row = 0
        layout.grow(list(left))
        if waiting:
            live += layout.live_bytes()
            steps += 1
        for number in [number for number, pages in left.items() if pages == 1]:
            layout.finish(number, keep=keep)
            del left[number]
        for number in left:
            left[number] -= 1
    return Played(live / (steps * budget), steps, idle)
