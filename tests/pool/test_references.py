"""Rows: who holds which page, and what a wrong verb says."""

from __future__ import annotations

import pytest

from cachepawl.errors import DoubleFree, InvariantError
from cachepawl.pool.frames import FrameAllocator
from cachepawl.pool.references import PageReferences
from cachepawl.types import NO_PAGES, Runs

FULL = 4


@pytest.fixture
def refs() -> PageReferences:
    return PageReferences(FrameAllocator(5, FULL))


def violations(refs: PageReferences, *tree: Runs) -> list[str]:
    return refs.violations(list(tree))


def test_a_row_grows_in_order(refs: PageReferences) -> None:
    refs.open(3, NO_PAGES)
    first, more = refs.grow(3, 2), refs.grow(3, 3)
    assert first is not None
    assert more is not None
    assert refs.pages(3, 0, 5) == first + more
    assert refs.rows[3].last_page == list(more)[-1]
    assert refs.grow(3, 0) is NO_PAGES
    assert refs.own_pages(3) == 5
    assert violations(refs) == []


def test_a_shortage_changes_nothing(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    assert refs.grow(1, 4 * FULL + 1) is None
    assert refs.rows[1].count == refs.row_pages == 0
    assert violations(refs) == []


def test_publish_replaces_duplicates_by_the_trees_pages(refs: PageReferences) -> None:
    for row in (1, 2):
        refs.open(row, NO_PAGES)
        assert refs.grow(row, 3) is not None
    tree = refs.pages(1, 0, 2)
    refs.publish(1, tree, NO_PAGES)
    # Row 2 computed the same two pages: its own are freed, its third page stays.
    own, tail = refs.pages(2, 0, 2), refs.pages(2, 2, 3)
    refs.publish(2, tree, own)
    assert refs.pages(2, 0, 3) == tree + tail
    assert not any(refs.frames.is_used(page) for page in own)
    assert (refs.tree_pages, refs.row_pages) == (2, 2)
    assert violations(refs, tree) == []


def test_pages_are_freed_once(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    refs.grow(1, 6)
    refs.release(1, 2, 4)
    for start, stop in ((2, 4), (0, 3), (3, 6)):
        with pytest.raises(DoubleFree, match=r"row 1: pages .* freed before: \[\(2, 4\)\]"):
            refs.release(1, start, stop)
    assert refs.own_pages(1) == 4
    refs.release(1, 4, 100)
    refs.release(1, 0, 2)
    refs.release(1, 5, 5)
    refs.close(1)
    assert refs.frames.kv_pages == 0
    assert violations(refs) == []


def test_the_trees_pages_are_not_a_rows_to_free(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    refs.grow(1, 3)
    tree = refs.pages(1, 0, 2)
    refs.publish(1, tree, NO_PAGES)
    with pytest.raises(DoubleFree, match=r"the tree has \[0, 2\)"):
        refs.release(1, 1, 3)
    assert violations(refs, tree) == []


def test_a_row_ends_empty_handed(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    with pytest.raises(InvariantError, match="row 1 is open already with 0 pages"):
        refs.open(1, NO_PAGES)
    refs.grow(1, 2)
    with pytest.raises(InvariantError, match="I7 row 1 closes with 2 pages of its own"):
        refs.close(1)
    assert refs.own_pages(1) == 2
    refs.release(1, 0, 2)
    refs.close(1)
    assert refs.rows == {}


def test_checks_see_wrong_owners_and_leaks(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    refs.grow(1, 3)
    own = refs.pages(1, 0, 3)
    assert "I7 page 4 at 0 of row 1: tree, not row 1" in violations(refs, own)
    refs.open(2, own)
    assert "I7 page 4 at 0 of row 2: row 1, not tree" in violations(refs)
    refs.tree_pages += 1
    assert any("I1 pages in use" in line for line in violations(refs))
    assert any("I7 2 pages in nodes" in line for line in violations(refs, Runs([(9, 2)])))


def test_clear(refs: PageReferences) -> None:
    refs.open(1, NO_PAGES)
    refs.grow(1, 3, reserve=1)
    refs.clear()
    assert (refs.rows, refs.row_pages, refs.frames.available_pages) == ({}, 0, 4 * FULL)
    assert violations(refs) == []
