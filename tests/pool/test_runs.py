"""`Runs` against a plain list of page ids."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.types import NO_PAGES, Runs

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200, database=None)
PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=6)
PLACES = st.integers(-3, 30)


def flat(pairs: list[tuple[int, int]]) -> list[int]:
    return [page for first, count in pairs for page in range(first, first + count)]


@SETTINGS
@given(PAIRS)
def test_is_the_list_it_was_made_of(pairs: list[tuple[int, int]]) -> None:
    runs, pages = Runs(pairs), flat(pairs)
    assert list(runs) == pages
    assert len(runs) == runs.count == len(pages)
    assert runs == Runs.of_pages(pages)
    assert hash(runs) == hash(Runs.of_pages(pages))
    assert all(count > 0 for _, count in runs.runs)


@SETTINGS
@given(PAIRS)
def test_neighbours_are_merged(pairs: list[tuple[int, int]]) -> None:
    # One list of pages has one form, so equality of runs is equality of pages.
    runs = Runs(pairs).runs
    assert all(a + n != b for (a, n), (b, _) in pairwise(runs))


@SETTINGS
@given(PAIRS, PAIRS)
def test_equality_and_concatenation(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    left, right = Runs(a), Runs(b)
    assert (left == right) == (flat(a) == flat(b))
    assert left != flat(a)
    assert list(left + right) == flat(a) + flat(b)
    assert left + right == Runs.concat([left, NO_PAGES, right]) == Runs(a + b)


@SETTINGS
@given(PAIRS, PLACES, PLACES)
def test_slice_clips_its_bounds(pairs: list[tuple[int, int]], start: int, stop: int) -> None:
    runs, pages = Runs(pairs), flat(pairs)
    before = runs.runs
    assert list(runs.slice(start, stop)) == pages[max(start, 0) : max(stop, 0)]
    assert runs.runs is before


@SETTINGS
@given(PAIRS, PLACES)
def test_split_and_page_at(pairs: list[tuple[int, int]], at: int) -> None:
    runs, pages = Runs(pairs), flat(pairs)
    if 0 <= at <= len(pages):
        head, tail = runs.split(at)
        assert (list(head), list(tail)) == (pages[:at], pages[at:])
    else:
        with pytest.raises(ValueError, match=f"split at {at} of {len(pages)} pages"):
            runs.split(at)
    if 0 <= at < len(pages):
        assert runs.page_at(at) == pages[at]
    else:
        with pytest.raises(IndexError, match=f"position {at} of {len(pages)} pages"):
            runs.page_at(at)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="a run of -1 pages at page 7"):
        Runs([(3, 2), (7, -1)])


def test_text_is_short() -> None:
    assert repr(Runs([(4, 3), (9, 1), (2, 2)])) == "Runs(4..6,9,2..3)"
