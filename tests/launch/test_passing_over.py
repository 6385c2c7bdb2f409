"""The loop over the queue goes on behind a request that waits, and only there."""

from __future__ import annotations

from typing import Any

from sglang.srt.managers.schedule_policy import AddReqResult, PrefillAdder

from cachepawl_patches.passing_over import _passing_over


class Budget:
    def __init__(self) -> None:
        self.may = False

    def next_may_come(self) -> bool:
        may, self.may = self.may, False
        return may


class Adder:
    """Its budget answers as asked to."""

    def __init__(self, state: AddReqResult) -> None:
        self.memory_budget, self.state = Budget(), state

    def add_one_req(self, req: bool, has_chunked_req: bool, truncation_align_size: Any) -> Any:
        self.memory_budget.may = req
        return AddReqResult.OTHER

    def budget_state(self) -> AddReqResult:
        return self.state


def test_what_the_loop_is_told() -> None:
    made = _passing_over(Adder)
    assert issubclass(made, Adder)
    assert _passing_over(Adder) is made
    waits, refused = True, False
    for state in AddReqResult:
        adder = made(state)
        assert adder.add_one_req(waits, has_chunked_req=False, truncation_align_size=None) is state
        assert adder.add_one_req(refused, False, None) is AddReqResult.OTHER


def test_it_overrides_what_sglang_calls() -> None:
    assert _passing_over(PrefillAdder).add_one_req is not PrefillAdder.add_one_req
