"""Where chunks end, and that at most one prompt of a pass is left unfinished."""

from __future__ import annotations

from passes import ask, key, make_budget, make_stops, request

from cachepawl.evacuation import Admission
from cachepawl_launch.prefill_budget import (
    MOST_PASSED_OVER,
    NOT_IN_THIS_PASS,
    ArenaPrefillBudget,
)
from cachepawl_launch.stops import Candidate, Stops

SYSTEM = list(range(1000, 1200))


def budget(page: int = 1) -> ArenaPrefillBudget:
    """Of an arena where everything fits; without a candidate, nothing has a mark."""
    return make_budget(make_stops(page=page), page)


def match(stops: Stops, rid: str, ids: list[int], mark: int | None = None, usable: int = 0) -> None:
    """The next candidate."""
    req = request(rid, mark)
    stops.matched(Candidate(req, key(ids), len(ids), usable, None, len(ids) - 1))


def admit(b: ArenaPrefillBudget, rid: str, ids: list[int], mark: int | None = None) -> int:
    """A candidate that is admitted; tokens of its first chunk."""
    match(b.tree_cache.stops, rid, ids, mark)
    admitted, limit = ask(b, len(ids), 8192)
    assert admitted
    took = min(len(ids), limit or 0)
    assert took
    b.reserve(took, 8)
    return took


def go_on(b: ArenaPrefillBudget, left: int, room: int) -> int | None:
    """A chunk of an unfinished prompt, as SGLang asks for it."""
    available = b.available_chunk_tokens(room)
    assert available is not None
    return b.fit_chunk(extend_input_len=left, max_new_tokens=8, chunk_limit=available)


def test_a_cut_is_on_the_grid() -> None:
    assert ask(budget(), 1000, 250) == (True, 192)
    assert go_on(budget(), 1000, 250) == 192


def test_what_fits_is_not_cut() -> None:
    assert ask(budget(), 250, 250) == (True, 250)
    assert ask(budget(), 1000, None) == (True, None)
    assert go_on(budget(), 250, 250) == 250


def test_pages_count_whole() -> None:
    """SGLang chunks a prompt whose last page is not in the room any more."""
    assert ask(budget(page=16), 249, 250) == (True, 192)


def test_less_than_a_step_is_taken_only_by_the_first() -> None:
    b = budget()
    assert ask(b, 1000, 50) == (True, 50)
    b = budget()
    b.reserve(206, 8)
    assert ask(b, 1000, 50) == NOT_IN_THIS_PASS
    assert ask(b, 50, 50) == (True, 50)


def test_one_unfinished_prompt_a_pass() -> None:
    cut, split, gone_on, held = budget(), budget(), budget(), budget()
    assert ask(cut, 1000, 250) == (True, 192)
    match(split.tree_cache.stops, "a", SYSTEM, 100)
    assert ask(split, 200, 250) == (True, 64)
    assert go_on(gone_on, 1000, 250) == 192
    held.current_offset = 10**9
    assert held.available_chunk_tokens(250) is None
    for b in (cut, split, gone_on, held):
        b.reserve(0, 8)
        assert ask(b, 1000, 200) == NOT_IN_THIS_PASS
        assert ask(b, 40, 58) == (True, 58)


def test_the_end_of_a_prompt_lets_another_begin() -> None:
    b = budget()
    assert go_on(b, 100, 250) == 250
    b.reserve(100, 8)
    assert ask(b, 1000, 150) == (True, 128)


def test_one_burst_a_pass() -> None:
    """What fits only after packing waits for the next pass; admission stays open."""
    b = budget()
    asked: list[int] = []
    ways = [Admission.SOON, Admission.OPEN]

    def make_way(tokens: int, states: int) -> Admission:
        asked.append(states)
        return ways.pop(0)

    b.cache.fits = lambda tokens, states: False
    b.cache.make_way = make_way
    assert ask(b, 100, 250) == NOT_IN_THIS_PASS
    assert ask(b, 100, 250) == NOT_IN_THIS_PASS
    assert asked == [3]
    following = budget()
    following.cache = b.cache
    assert ask(following, 100, 250) == (True, 250)


def own(seed: int) -> list[int]:
    return [seed] * 200


def test_one_that_is_not_the_first_may_be_cut() -> None:
    b = budget()
    assert admit(b, "a", own(1)) == 200
    assert admit(b, "b", own(2), mark=130) == 128
    assert b.unfinished


def test_beside_one_that_is_cut_the_snapshot_is_at_the_mark() -> None:
    b = budget()
    stops, counters = b.tree_cache.stops, b.tree_cache.stops._counters
    assert admit(b, "a", own(1), mark=130) == 128
    match(stops, "b", own(2), 130)
    req = stops._candidate.req
    assert ask(b, 200, 8000) == (True, 8000)
    assert req.mamba_branching_seqlen == 128
    assert counters.snapshots_at_marks == 0
    b.reserve(200, 8)
    assert (counters.snapshots_at_marks, counters.marks_lost) == (1, 0)
    assert stops.coming.deepest(key(own(2)), 199) == 128


def test_without_tracking_such_a_mark_is_lost_and_counted() -> None:
    b = make_budget(make_stops(1))
    counters = b.tree_cache.stops._counters
    assert admit(b, "a", own(1), mark=130) == 130
    assert admit(b, "b", own(2), mark=130) == 200
    assert (counters.snapshots_at_marks, counters.marks_lost) == (0, 1)


def test_who_shares_a_prefix_that_is_computed_waits() -> None:
    b = budget()
    stops = b.tree_cache.stops
    assert admit(b, "a", [*SYSTEM, *own(1)], mark=200) == 192
    match(stops, "b", [*SYSTEM, *own(2)], 200)
    assert ask(b, 400, 8000) == NOT_IN_THIS_PASS
    assert b.next_may_come()
    assert not b.next_may_come(), "asked once"
    assert admit(b, "c", own(3)) == 200
    stops.left("a")
    following = make_budget(stops)
    match(stops, "b", [*SYSTEM, *own(2)], 200, usable=192)
    assert ask(following, 208, 8000) == (True, 8000)
    following.reserve(208, 8)
    assert (stops._counters.prefix_waits, stops._counters.prefix_waits_met) == (1, 1)


def test_a_state_that_never_came() -> None:
    """The leader found no room for its snapshot: who waited computes, and is cut itself."""
    b = budget()
    stops = b.tree_cache.stops
    admit(b, "a", [*SYSTEM, *own(1)], mark=200)
    match(stops, "b", [*SYSTEM, *own(2)], 200)
    assert ask(b, 400, 8000) == NOT_IN_THIS_PASS
    stops.left("a")
    assert admit(make_budget(stops), "b", [*SYSTEM, *own(2)], mark=200) == 192
    assert (stops._counters.prefix_waits, stops._counters.prefix_waits_met) == (1, 0)


def test_so_many_are_passed_over() -> None:
    """Each costs a match; then the pass ends."""
    b = budget()
    stops = b.tree_cache.stops
    admit(b, "a", [*SYSTEM, *own(1)], mark=200)
    went_on = []
    for i in range(MOST_PASSED_OVER + 1):
        match(stops, f"b{i}", [*SYSTEM, *own(2)], 200)
        assert ask(b, 400, 8000) == NOT_IN_THIS_PASS
        went_on.append(b.next_may_come())
    assert went_on == [True] * MOST_PASSED_OVER + [False]


def test_who_was_passed_over_is_not_shut_out() -> None:
    """One behind it that does not fit ends the pass, but does not close admission."""
    b = budget()
    stops = b.tree_cache.stops
    admit(b, "a", [*SYSTEM, *own(1)], mark=200)
    match(stops, "b", [*SYSTEM, *own(2)], 200)
    assert ask(b, 400, 8000) == NOT_IN_THIS_PASS
    b.cache.fits = lambda tokens, states: False
    b.cache.make_way = lambda tokens, states: Admission.CLOSED
    match(stops, "c", own(3))
    assert ask(b, 200, 8000) == NOT_IN_THIS_PASS
    assert not b.next_may_come()
    assert b.cache.counters.admissions_refused == 0


def test_without_a_plan_nobody_waits_or_is_cut() -> None:
    b = make_budget(make_stops(enabled=False))
    assert admit(b, "a", [*SYSTEM, *own(1)], mark=200) == 400
    assert admit(b, "b", [*SYSTEM, *own(2)], mark=200) == 400
