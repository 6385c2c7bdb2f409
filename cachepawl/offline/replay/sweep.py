"""Several replays and bounds, one after the other or in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from cachepawl.errors import CachepawlError
from cachepawl.offline.replay.lines import Line, line_of, wanted_lines
from cachepawl.offline.replay.outcome import Outcome, replay
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Source, Tick, no_tick

LOOK = 0.2
"""Seconds between two looks at how far the processes are."""


class Sweep(NamedTuple):
    """What to find out."""

    source: Source
    scenarios: list[Scenario]
    bounds: list[str]
    """Names of bounds."""


class Found(NamedTuple):
    """What came of it, in the order asked for."""

    outcomes: list[Outcome]
    lines: list[Line]


def run(sweep: Sweep, jobs: int = 1, tick: Tick = no_tick) -> Found:
    """Replay everything.  `tick` is told of requests replayed, by whichever process.

    InputError for scenarios that do not fit, before anything is read.
    """
    for scenario in sweep.scenarios:
        scenario.check()
    if jobs == 1 or len(sweep.scenarios) + len(sweep.bounds) == 1:
        return _alone(sweep, tick)
    return _in_processes(sweep, jobs, tick)


def _alone(sweep: Sweep, tick: Tick) -> Found:
    source = sweep.source
    outcomes = [replay(scenario, source.requests(tick)) for scenario in sweep.scenarios]
    lines = wanted_lines(sweep.bounds, sweep.scenarios)
    return Found(outcomes, [line_of(name, source, scenario) for name, scenario in lines])


_done: Any = None
"""In a worker: requests done by each task, shared with the parent."""


def _share(done: Any) -> None:
    global _done
    _done = done


def _replay(index: int, scenario: Scenario, source: Source) -> Outcome:
    def tick(count: int) -> None:
        _done[index] += count

    return replay(scenario, source.requests(tick))


def _in_processes(sweep: Sweep, jobs: int, tick: Tick) -> Found:
    # Spawned, not forked: the parent may have threads that draw a bar.
    context = multiprocessing.get_context("spawn")
    done = context.Array("q", max(1, len(sweep.scenarios)), lock=False)
    wanted = wanted_lines(sweep.bounds, sweep.scenarios)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_share, initargs=(done,)
    ) as pool:
        try:
            replays = [
                pool.submit(_replay, i, scenario, sweep.source)
                for i, scenario in enumerate(sweep.scenarios)
            ]
            bounds = [
                pool.submit(line_of, name, sweep.source, scenario) for name, scenario in wanted
            ]
            _watch([*replays, *bounds], lambda: sum(done), tick)
            outcomes = [future.result() for future in replays]
            lines = [future.result() for future in bounds]
        except BrokenProcessPool:
            raise CachepawlError(
                f"a process of {jobs} died, maybe for want of memory; try --jobs 1"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return Found(outcomes, lines)


def _watch(futures: Sequence[Future[Any]], count: Callable[[], int], tick: Tick) -> None:
    """Wait for all; raises what the first that fails raised."""
    seen = 0
    while True:
        waiting = wait(futures, timeout=LOOK).not_done
        now = count()
        tick(now - seen)
        seen = now
        for future in futures:
            if future.done():
                future.result()
        if not waiting:
            return
