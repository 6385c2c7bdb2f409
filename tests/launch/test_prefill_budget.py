"""Where chunks end, and that at most one prompt of a pass is left unfinished."""

from __future__ import annotations

from types import SimpleNamespace

from cachepawl.evacuation import Admission
from cachepawl.snapshots import SnapshotPlan
from cachepawl_launch.prefill_budget import NOT_IN_THIS_PASS, ArenaPrefillBudget

GRID = 64


def budget(page: int = 1, stop: int | None = None) -> ArenaPrefillBudget:
    """Of an arena where everything fits; the first candidate would stop at `stop`."""
    cache = SimpleNamespace(
        geometry=SimpleNamespace(tokens_per_frame=22),
        states_per_request=3,
        fits=lambda tokens, states: True,
        obtainable_tokens=lambda: 10**6,
    )
    tree = SimpleNamespace(
        plan=SnapshotPlan(GRID, enabled=True),
        chunk_stop=lambda: stop,
        first_cut=lambda chunk: chunk,
        next_cut=lambda left, chunk: chunk,
    )
    allocator = SimpleNamespace(page_size=page, cache=cache)
    return ArenaPrefillBudget(allocator, tree, num_mixed_decode_tokens=0)


def ask(b: ArenaPrefillBudget, extend: int, room: int | None) -> tuple[bool, int | None]:
    return b.check_prefill(
        extend_input_len=extend,
        total_tokens=extend,
        max_new_tokens=8,
        input_tokens=extend,
        swa_host_hit_length=0,
        chunk_limit=room,
    )


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
    cut, split, gone_on, held = budget(), budget(stop=64), budget(), budget()
    assert ask(cut, 1000, 250) == (True, 192)
    assert ask(split, 200, 250) == (True, 64)
    assert go_on(gone_on, 1000, 250) == 192
    held.current_offset = 10**6
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
