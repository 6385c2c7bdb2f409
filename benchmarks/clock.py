"""Timing single calls of several implementations so that drift hits all of them alike.

Calls are timed in short blocks that go round the implementations: within a block the
processor's caches are warm, as they are in a loop that does little else, and a machine
that becomes slower does so for everybody.  What a figure leaves out (arguments, clean-up,
the check of the result) happens between the blocks.

Time is the CPU time of this thread: another process on the core is not counted.  The
cyclic garbage collector is off meanwhile.  Reading the clock costs what `clock_cost_us`
says; it is inside every figure.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple, TypeVar

BLOCK = 16
"""Calls of one implementation before it is the next one's turn."""

now = time.thread_time_ns


class Timed(NamedTuple):
    """One call to time, and what to do with its result afterwards."""

    call: Callable[[], Any]
    finish: Callable[[Any], None]


S = TypeVar("S")
Phase = Callable[[S, int], Timed]
"""`(implementation, number of the call)` -> the call, ready to go."""
Samples = dict[S, list[int]]
"""Nanoseconds of every call, in order."""


@contextmanager
def collector_off() -> Iterator[None]:
    """No cyclic garbage collection inside; one right before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleave(subjects: Sequence[S], calls: int, *phases: Phase[S]) -> list[Samples[S]]:
    """Time `calls` calls of every phase on every subject; one result a phase.

    The phases of a block follow each other (lock sixteen, unlock those sixteen), and
    every block starts with another subject.
    """
    samples: list[Samples[S]] = [{subject: [] for subject in subjects} for _ in phases]
    with collector_off():
        for number, start in enumerate(range(0, calls, BLOCK)):
            turn = number % len(subjects)
            for subject in (*subjects[turn:], *subjects[:turn]):
                for phase, into in zip(phases, samples, strict=True):
                    block = range(start, min(start + BLOCK, calls))
                    into[subject] += _time_block([phase(subject, i) for i in block])
    return samples


def _time_block(block: list[Timed]) -> list[int]:
    times, results = [], []
    for timed in block:
        call = timed.call
        before = now()
        result = call()
        after = now()
        times.append(after - before)
        results.append(result)
    for timed, result in zip(block, results, strict=True):
        timed.finish(result)
    return times


def median_us(nanoseconds: list[int]) -> float:
    """The median, in microseconds."""
    return round(median(nanoseconds) / 1000, 3)


def clock_cost_us() -> float:
    """What an empty call costs when it is timed like all others."""
    empty = Timed(lambda: None, lambda _: None)
    return median_us(_time_block([empty] * 2000))
