"""Plans of evacuations: from where, to where, how much at once; and what refuses to move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.errors import ArgumentError, DoubleFree
from cachepawl.pool.evacuation import BURST_FRAMES, choose_sources, place, room_in, strangers
from cachepawl.pool.frames import FrameAllocator
from cachepawl.pool.moves import Move, Moves, RowPiece
from cachepawl.pool.references import PageReferences
from cachepawl.types import NO_PAGES, Runs

FULL = 4


class Plan:
    """Frames with given pinned and evictable pages; every row has its pages of one frame."""

    def __init__(self, layout: list[tuple[int, int]], full: int = FULL) -> None:
        self.frames = FrameAllocator(len(layout) + 1, full)
        self.refs = PageReferences(self.frames)
        for row, (pinned, loose) in enumerate(layout, start=1):
            self.refs.open(row, NO_PAGES)
            assert self.refs.grow(row, full) is not None
            kept = self.refs.pages(row, 0, pinned)
            rest = self.refs.pages(row, pinned, full)
            self.refs.rows[row].runs = [list(run) for run in kept.runs]
            self.refs.rows[row].count = pinned
            self.refs.row_pages -= full - pinned
            self.frames.unpin(rest)
            self.frames.free_pages(rest.slice(loose, rest.count))
            self.refs.tree_pages += loose

    def holders(self) -> list[Runs]:
        return self.refs.movable(list(self.refs.rows))


@given(
    layout=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12),
    wanted=st.integers(0, 12),
)
def test_a_plan_is_right(layout: list[tuple[int, int]], wanted: int) -> None:
    full = 5
    layout = [(pinned, min(loose, full - pinned)) for pinned, loose in layout]
    plan = Plan(layout, full)
    frames, holders = plan.frames, plan.holders()
    before = frames.pinned_frames
    sources = choose_sources(frames, wanted, set())
    assert strangers(frames, sources, holders) == set()
    pins = sorted(pinned for pinned, _ in layout if pinned)
    assert sorted(frames.pinned_in(f) for f in sources.leave) == pins[: len(sources.leave)]
    assert sources.pages == sum(pins[: len(sources.leave)]) <= BURST_FRAMES * full
    assert len(sources.leave) <= wanted
    # Without a bound on the burst it would be as many as packing makes free, or as are wanted.
    most = len(pins) - -(-sum(pins) // full)
    if len(sources.leave) < min(wanted, most):
        assert sources.pages + pins[len(sources.leave)] > BURST_FRAMES * full
    if not sources.leave or room_in(frames, sources.stay) < sources.pages:
        return
    moves = place(frames, holders, sources)
    frames.start_moves(moves)
    assert set(moves.sources) == {
        page for runs in holders for page in runs if page // full in sources.leave
    }
    assert moves.pages == sources.pages == len(set(moves.targets))
    assert {page // full for page in moves.targets} <= set(sources.stay)
    plan.refs.rewrite_rows(plan.refs.touching(sources.leave), moves, 0)
    frames.finish_moves(moves)
    assert frames.pinned_frames == before - len(sources.leave)
    assert frames.violations() == []
    assert plan.holders() == [moves.rewrite(runs) for runs in holders]


@given(
    runs=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=4),
    moved=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=6),
)
def test_page_lists_read_as_page_by_page(
    runs: list[tuple[int, int]], moved: list[tuple[int, int]]
) -> None:
    moves, taken = [], 1000
    place_of: dict[int, int] = {}
    for frame, count in moved:
        source = frame * FULL + FULL - count
        if all(page not in place_of for page in range(source, source + count)):
            moves.append(Move(source, taken, count))
            place_of |= {source + i: taken + i for i in range(count)}
            taken += 8
    batch, pages = Moves(moves, FULL), Runs(runs)
    assert list(batch.rewrite(pages)) == [place_of.get(page, page) for page in pages]
    assert [
        (position + i, page + i) for position, page, n in batch.pieces(pages.runs) for i in range(n)
    ] == list(enumerate(place_of.get(page, page) for page in pages))


def test_the_emptiest_go_into_the_fullest() -> None:
    plan = Plan([(1, 0), (2, 0), (3, 0), (2, 0)])
    sources = choose_sources(plan.frames, 1, set())
    assert (sources.leave, sources.pages) == (frozenset({1}), 1)
    (move,) = place(plan.frames, plan.holders(), sources).every
    assert move == Move(1 * FULL, 3 * FULL + 3, 1)


def test_what_belongs_together_stays_together() -> None:
    plan = Plan([(2, 0), (3, 0), (2, 0)])
    (move,) = place(plan.frames, plan.holders(), choose_sources(plan.frames, 1, set())).every
    assert move == Move(1 * FULL, 3 * FULL + 2, 2)


def test_frames_of_a_transfer_stay() -> None:
    plan = Plan([(1, 0), (2, 0), (2, 0)])
    frames = plan.frames
    held = Runs([(FULL, 1)])
    frames.hold_still(held)
    assert choose_sources(frames, 1, set()).leave == {2}
    assert frames.fits_packed(0, 1, 0)
    frames.hold_still(Runs([(2 * FULL, 1), (3 * FULL, 1)]))
    assert not frames.fits_packed(0, 1, 0)
    assert choose_sources(frames, 3, set()).leave == frozenset()
    with pytest.raises(DoubleFree, match="frame 1 has 1 held"):
        frames.let_go(Runs([(FULL, 2)]))
    frames.let_go(held)
    assert choose_sources(frames, 1, set()).leave == {1}


def test_a_row_that_is_ending_keeps_its_frame() -> None:
    plan = Plan([(2, 0), (3, 0), (3, 0)])
    plan.refs.release(1, 0, 1)
    sources = choose_sources(plan.frames, 1, set())
    assert sources.leave == strangers(plan.frames, sources, plan.holders()) == {1}
    sources = choose_sources(plan.frames, 1, {1})
    assert (sources.leave, sources.pages, sources.stay) == ({2}, 3, [1, 3])


def test_a_moved_row_goes_on_behind_its_last_page() -> None:
    frames = FrameAllocator(4, 8)
    refs = PageReferences(frames)
    for row in (1, 2):
        refs.open(row, NO_PAGES)
    assert refs.grow(1, 2, reserve=2) == Runs([(8, 2)])
    assert refs.grow(2, 8) == Runs([(16, 8)])
    refs.release(2, 3, 8)
    moves = Moves([Move(8, 20, 2)], 8)
    frames.start_moves(moves)
    assert refs.rewrite_rows([1], moves, 64) == [RowPiece(1, 0, 20, 2)]
    frames.finish_moves(moves)
    assert frames.kind[1] == 0
    assert frames.next_pages([1]) == [22]
    assert frames.violations() == []


def test_reservations_give_way() -> None:
    frames = FrameAllocator(3, 4)
    assert frames.alloc_pages(1, 1, reserve=3) == Runs([(4, 1)])
    assert frames.alloc_pages(2, 2) == Runs([(8, 2)])
    frames.start_moves(moves := Moves([Move(8, 5, 2)], 4))
    frames.finish_moves(moves)
    assert frames.next_pages([1]) == [-1]
    assert frames.free_frames == 1
    assert frames.violations() == []


WRONG: dict[str, list[Move]] = {
    "to a page in use": [Move(4, 8, 1)],
    "to a free frame": [Move(4, 12, 1)],
    "to the sink": [Move(4, 0, 1)],
    "beyond the arena": [Move(4, 40, 1)],
    "across a border": [Move(4, 11, 2)],
    "two to one place": [Move(4, 10, 1), Move(5, 10, 1)],
    "from a free page": [Move(7, 10, 1)],
}


@pytest.mark.parametrize("every", WRONG.values(), ids=WRONG.keys())
def test_wrong_moves_change_nothing(every: list[Move]) -> None:
    frames = FrameAllocator(5, FULL)
    assert frames.alloc_pages(1, 2, reserve=2) == Runs([(4, 2)])
    assert frames.alloc_pages(2, 2) == Runs([(8, 2)])
    picture = repr(vars(frames))
    with pytest.raises(ArgumentError):
        frames.start_moves(Moves(every, FULL))
    assert repr(vars(frames)) == picture
