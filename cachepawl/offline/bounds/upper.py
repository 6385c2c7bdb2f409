"""An upper bound on the tokens that any cache of so many bytes saves on a trace.

Time is cut between requests.  A request that starts at depth d has had the state of d,
and the KV of the runs up to d, in memory since they were last computed or used: since the
last request that passed the run.  So rent it: with a price per byte at every time, the
request pays for the KV of each run since that run's last pass, and for one state since the
last pass of d.  No two requests pay for the same bytes at the same time.  For any prices
that are not negative

    saved  <=  budget x sum of prices  +  sum over requests of max(0, tokens - rent)

at the best depth for each (Lagrangian relaxation of the byte budget).  Whatever a cache
keeps, wherever it takes states and however it evicts, it is below.  Inside a run value and
rent grow evenly, so the best depth is an end of a run or the request's limit.

What is found is the lowest such right side over many prices; bad prices make the bound
loose, never wrong.  Answers are not in it: what only an answer computed counts as computed
by the next prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cachepawl.errors import ArgumentError
from cachepawl.offline.bounds.prices import Prices, lowest_bound
from cachepawl.offline.bounds.runs import ROOT, Runs


class Bytes(NamedTuple):
    """What a cache pays."""

    kv: int
    """Bytes of KV of one token."""
    state: int
    """Bytes of one state; 0 for a model without."""


class Entry(NamedTuple):
    """One more stretch that a request may start behind."""

    since: int
    """The request that passed it last."""
    kv: int
    """Bytes of its KV."""
    depth: int
    """Tokens saved by starting behind it."""


class Reuse(NamedTuple):
    """What a request could find, stretch by stretch."""

    at: int
    """Which request."""
    entries: list[Entry]


def reuses(runs: Runs, cost: Bytes) -> list[Reuse]:
    """Every request that repeats something, with what it repeats."""
    passed = [-1] * len(runs.end)
    found = []
    for at in range(len(runs.last)):
        path = runs.path(at)
        entries = list(_entries(runs, path, passed, runs.limit(at), cost))
        if entries:
            found.append(Reuse(at, entries))
        for run in path:
            passed[run] = at
    return found


def _entries(
    runs: Runs, path: list[int], passed: list[int], limit: int, cost: Bytes
) -> Iterator[Entry]:
    """Stretches with one last pass each: within one the deepest place is best, or the first."""
    kv = depth = start = 0
    since = ROOT
    for run in path:
        if passed[run] < 0 or start >= limit:
            break
        if passed[run] != since and kv:
            yield Entry(since, kv, depth)
            kv = 0
        since, depth = passed[run], min(runs.end[run], limit)
        kv += (depth - start) * cost.kv
        start = depth
    if kv or depth:
        yield Entry(since, kv, depth)


class Demand(NamedTuple):
    """What requests take at some prices."""

    surplus: float
    """Tokens that they gain beyond their rents."""
    changes: list[int]
    """Bytes rented at each time, less those at the time before."""


def demand(found: list[Reuse], state: int, paid: list[float]) -> Demand:
    """Every request's best choice; `paid[t]` is the price of one byte from the start to t."""
    surplus = 0.0
    changes = [0] * len(paid)
    for at, entries in found:
        now = paid[at]
        most = entries[-1].depth
        rent, best, chosen = 0.0, 0.0, 0
        for count, (since, kv, depth) in enumerate(entries, 1):
            price = now - paid[since]
            rent += kv * price
            if most - rent <= best:
                break
            gain = depth - rent - state * price
            if gain > best:
                best, chosen = gain, count
        if not chosen:
            continue
        surplus += best
        taken = 0
        for since, kv, _ in entries[:chosen]:
            changes[since] += kv
            taken += kv
        changes[entries[chosen - 1].since] += state
        changes[at] -= taken + state
    return Demand(surplus, changes)


def upper_bound(runs: Runs, cost: Bytes, budget: int) -> int:
    """Tokens that no cache of `budget` bytes saves more of; prompts' tokens, all together.

    ArgumentError for a budget that is not above 0.
    """
    if budget <= 0:
        raise ArgumentError(f"a budget of {budget} bytes: give at least 1")
    found = reuses(runs, cost)
    if not found:
        return 0
    everything = sum(reuse.entries[-1].depth for reuse in found)
    times = max(1, len(runs.last) - 1)

    def bound(prices: Prices) -> tuple[float, list[float]]:
        paid = prices.paid()
        surplus, changes = demand(found, cost.state, paid)
        return surplus + budget * paid[-1], prices.excess(changes, budget)

    lowest = lowest_bound(bound, times, start=everything / times / budget)
    return int(min(everything, lowest * (1 + ROUNDING)))


ROUNDING = 1e-9
"""Relative error of sums of floats, generously: the bound has to stay one."""
