"""Prices of a byte over time, and the search for those that bound best."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import exp, log
from typing import NamedTuple


class Prices:
    """Spans of time, each with one price of holding a byte from one request to the next."""

    def __init__(self, times: int, logs: list[float]) -> None:
        """`logs`: natural logarithms of the prices, one a span; spans are evenly long."""
        self.logs = logs
        self.edges = [i * times // len(logs) for i in range(len(logs) + 1)]

    def paid(self) -> list[float]:
        """For each time what a byte has cost since the start."""
        each = [0.0]
        for price, start, stop in zip(self.logs, self.edges, self.edges[1:], strict=False):
            each += [exp(price)] * (stop - start)
        return list(accumulate(each))

    def excess(self, changes: list[int], budget: int) -> list[float]:
        """Of each span, what was asked for beyond the budget, as a share of it; -1 is nothing.

        `changes`: bytes held at each time, less those at the time before.
        """
        total = [0, *accumulate(accumulate(changes))]
        return [
            (total[stop] - total[start]) / (budget * (stop - start)) - 1
            for start, stop in zip(self.edges, self.edges[1:], strict=False)
        ]


class Stage(NamedTuple):
    """So many steps with so many spans; a step's size shrinks from `first` to `last`."""

    spans: int
    steps: int
    first: float
    last: float


STAGES = (
    Stage(1, 30, 1.0, 0.05),
    Stage(16, 30, 0.5, 0.1),
    Stage(256, 60, 0.5, 0.1),
    Stage(1024, 240, 0.5, 0.02),
)
"""From coarse to fine: coarse ones find the level quickly, fine ones the peaks."""
INERTIA = 0.9
"""Of a step: requests jump between depths, so single excesses say little."""

Bound = Callable[[Prices], tuple[float, list[float]]]
"""The bound at some prices, and each span's excess there."""


def lowest_bound(bound: Bound, times: int, start: float) -> float:
    """The lowest bound over prices that rise where too much is asked for and fall elsewhere.

    Subgradient steps on the logarithms of the prices, from `start` everywhere.
    """
    lowest = float("inf")
    logs = [log(start)]
    for stage in STAGES:
        spans = min(stage.spans, times)
        prices = Prices(times, [logs[i * len(logs) // spans] for i in range(spans)])
        lowest = min(lowest, _settle(bound, prices, stage))
        logs = prices.logs
    return lowest


def _settle(bound: Bound, prices: Prices, stage: Stage) -> float:
    lowest = float("inf")
    drift = [0.0] * len(prices.logs)
    size, shrink = stage.first, (stage.last / stage.first) ** (1 / stage.steps)
    for _ in range(stage.steps):
        value, excess = bound(prices)
        lowest = min(lowest, value)
        drift = [
            INERTIA * old + (1 - INERTIA) * min(1.0, new)
            for old, new in zip(drift, excess, strict=True)
        ]
        prices.logs = [
            max(LEAST, was + size * by) for was, by in zip(prices.logs, drift, strict=True)
        ]
        size *= shrink
    return lowest


LEAST = -100.0
"""Of a logarithm: a price of nothing."""
