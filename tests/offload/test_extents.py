"""Pieces, extents and the refusals of copies that do not fit together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import SHAPES, SMALL_PAGES, copy_of

from cachepawl.errors import TransferError
from cachepawl.offload.extents import Places, check_copy, page_extents, pieces_of, state_extents
from cachepawl.pool.geometry import Geometry
from cachepawl.types import Runs

IDS = st.lists(st.integers(0, 12), unique=True, max_size=12)
DEVICE, HOST = (
    Places.of(SHAPES.with_budget(6 * SHAPES.frame_bytes)),
    Places.of(SHAPES.with_budget(8 * SHAPES.frame_bytes)),
)


@given(data=st.data())
def test_pieces_are_the_pairs_and_never_two_where_one_would_do(data: st.DataObject) -> None:
    came = data.draw(IDS)
    to = data.draw(st.permutations(range(13)))[: len(came)]
    pieces = list(pieces_of(Runs.of_pages(came), Runs.of_pages(to)))
    pairs = [(p.source + i, p.target + i) for p in pieces for i in range(p.pages)]
    assert pairs == list(zip(came, to, strict=True))
    for one, other in itertools.pairwise(pieces):
        assert (one.source + one.pages, one.target + one.pages) != (other.source, other.target)


def test_extents_are_bytes() -> None:
    pieces = list(pieces_of(Runs([(4, 3)]), Runs([(2, 1), (9, 2)])))
    size = SHAPES.page_bytes
    assert page_extents(pieces, Places.of(SHAPES)) == (
        [2 * size, 9 * size],
        [4 * size, 5 * size],
        [size, 2 * size],
    )
    states = state_extents(copy_of(states_from=[3], states_to=[5]), Places.of(SMALL_PAGES))
    frame = SMALL_PAGES.frame_bytes
    assert states == ([5 * frame], [3 * frame], [SMALL_PAGES.state_bytes])
    assert SMALL_PAGES.state_bytes < frame


@pytest.mark.parametrize(
    ("copy", "message"),
    [
        (copy_of([1, 2], [1]), "2 pages to 1 places"),
        (copy_of(states_from=[1], states_to=[]), "1 states to 0 slots"),
        (copy_of([0], [1]), "source pages 0 to 0; the arena's are 1 to 5, 1 a frame"),
        (copy_of([1], [0]), "destination pages 0 to 0; the arena's are 1 to 7"),
        (copy_of([6], [1]), "source pages 6 to 6; the arena's are 1 to 5"),
        (copy_of([1], [8]), "destination pages 8 to 8"),
        (copy_of(states_from=[6], states_to=[1]), "source pages 6 to 6"),
        (copy_of(states_from=[0], states_to=[1]), "source pages 0 to 0"),
        (copy_of([1, 2], [3, 3]), "destination page 3 is written twice"),
        (copy_of([1], [4], [2], [4]), "destination page 4 is written twice"),
        (copy_of(states_from=[1, 2], states_to=[4, 4]), "destination page 4 is written twice"),
    ],
)
def test_refusals(copy: object, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        check_copy(copy, DEVICE, HOST)  # type: ignore[arg-type]


def test_a_source_may_be_read_twice() -> None:
    check_copy(copy_of([2, 2], [3, 4], [5, 5], [1, 2]), DEVICE, HOST)


def test_states_of_a_model_without() -> None:
    shapes = Geometry(SHAPES.kv, None, 2, 4, frame_pages=2)
    with pytest.raises(TransferError, match="1 states of a model that has none"):
        check_copy(copy_of(states_from=[1], states_to=[1]), *[Places.of(shapes)] * 2)
