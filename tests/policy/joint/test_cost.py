"""What `joint` does for a request does not grow with the cache.  Counted, not timed.

Counted are the instructions of the interpreter in the policy's own code, call by call.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.bench_policy_cost import SILENCE, Load, make_cache
from cachepawl import policy as room
from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.requests import MOST_ADVANCES
from cachepawl.tree import RadixTree

HERE = room.__path__[0]
A_REQUEST, A_STEP = 6500, 8000
"""Instructions at most; the requests below take 4400 to 5200, their longest steps 5900."""
HOOKS = ("began", "published", "leaving", "victim", "unlocked", "ended")


class Count:
    """Instructions of each call of a hook while it is open."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def _frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(HERE):
            return None
        caller = frame.f_back
        if caller is None or not caller.f_code.co_filename.startswith(HERE):
            self.calls.append(0)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.calls[-1] += event == "opcode"
        return self._step

    def __enter__(self) -> Count:
        self._before = sys.gettrace()
        sys.settrace(self._frame)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def full(nodes: int, policy: Joint) -> Load:
    load = Load(make_cache(nodes, policy))
    while not load.cache.counters.evicted_states:
        load.request()
    return load


def counted(load: Load, requests: int = 100) -> list[int]:
    with Count() as count:
        for _ in range(requests):
            load.request()
    return count.calls


@pytest.mark.parametrize("nodes", [400, 1600])
def test_a_request_costs_the_same_in_a_large_cache(nodes: int) -> None:
    assert sum(counted(full(nodes, Joint()))) / 100 < A_REQUEST


def test_no_step_is_long_after_a_silence() -> None:
    """Every site's age enters another level at once; a few at each request do so here."""
    load = full(500, Joint())
    before = max(counted(load))
    load.now += 10 * SILENCE
    after = counted(load)
    assert max(after) < before + 100 * MOST_ADVANCES
    assert max(after) < A_STEP


def test_a_walk_over_all_units_is_seen() -> None:
    class Diligent(Joint):
        def ended(self, tree: RadixTree, row: int) -> None:
            super().ended(tree, row)
            self.look_at_all(tree)

    with pytest.raises(AssertionError):
        assert max(counted(full(300, Diligent()), 5)) < A_STEP
