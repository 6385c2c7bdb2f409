"""The smallest case of each deliberate difference; docs/differences.md gives the reasons.

A path is a namespace and one letter a page; pages are numbered as they are brought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from order import OurSubject, TheirSubject
from paths import Path, key_of
from theirs import Left

from benchmarks.sglang_tree import CORES, sglang_context, why_no_rust
from cachepawl.errors import LockError
from cachepawl.types import Runs

PAGE = 4


class Both(NamedTuple):
    ours: OurSubject
    theirs: TheirSubject


def path(letters: str) -> Path:
    return (b"", *map(int, letters))


def pages(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "rust" and (why := why_no_rust()):
        pytest.skip(f"no Rust core here: {why}")
    with sglang_context(PAGE):
        yield request.param


@pytest.fixture
def both(core: str) -> Both:
    """With states."""
    return Both(OurSubject(PAGE, has_states=True), TheirSubject(core, PAGE, has_states=True))


@pytest.fixture
def kv_only(core: str) -> Both:
    return Both(OurSubject(PAGE, has_states=False), TheirSubject(core, PAGE, has_states=False))


def test_limit(both: Both) -> None:
    """Ours says how far KV goes beyond the limit: there is a branch point."""
    for one in both:
        one.insert(path("0000"), pages(1, 4), 0, 1)
    assert both.ours.match(path("0000"), 3)[:2] == (0, 4)
    assert both.theirs.match(path("0000"), 3)[:2] == (0, 3)


def test_match_splits(kv_only: Both) -> None:
    """The lock of a hit inside an edge keeps the whole edge, and SGLang's the hit."""
    for one in kv_only:
        one.insert(path("0000"), pages(1, 4), 0, None)
        assert one.match(path("0022"), None) == (2, 2, [1, 2])
    assert kv_only.ours.tree.num_nodes == 1
    kv_only.ours.lock(path("00"), True)
    kv_only.theirs.lock(path("00"), True)
    assert kv_only.ours.sizes()[:2] == (0, 4)
    assert kv_only.theirs.sizes()[:2] == (2, 2)


def test_match_splits_and_half_of_an_edge_goes(kv_only: Both) -> None:
    """After the split SGLang evicts the half that nobody asked for, ours all of it."""
    for one in kv_only:
        one.insert(path("0000"), pages(1, 4), 0, None)
        one.match(path("0022"), None)
    assert kv_only.ours.evict_kv(1) == Left((1, 2, 3, 4))
    assert kv_only.theirs.evict_kv(1) == Left((3, 4))


def test_split_uses_suffix(kv_only: Both) -> None:
    """A fork makes the other branch new in SGLang; here it stays as old as it was."""
    for one in kv_only:
        one.insert(path("0000"), pages(1, 4), 0, None)
        one.insert(path("1111"), pages(11, 4), 0, None)
        one.insert(path("0022"), pages(21, 4), 0, None)
    assert kv_only.ours.evict_kv(1) == Left((3, 4))
    assert kv_only.theirs.evict_kv(1) == Left((11, 12, 13, 14))


def test_match_uses_kv_below_hit(both: Both) -> None:
    """The same prompt again: its last state is beyond the limit, its KV is new all the same."""
    for one in both:
        one.insert(path("0000"), pages(1, 4), 0, 1)
        one.match(path("0000"), 3)  # SGLang splits off the last page, and here counts it as used
        one.insert(path("1111"), pages(11, 4), 0, 2)
        one.match(path("0000"), 3)
    assert both.ours.evict_kv(1) == Left((11, 12, 13, 14), (2,))
    assert both.theirs.evict_kv(1) == Left((4,), (1,))


def test_unlock_is_a_use(kv_only: Both) -> None:
    """A request that ends leaves its prefix as the newest; SGLang counts its match."""
    for one in kv_only:
        one.insert(path("0000"), pages(1, 4), 0, None)
        receipt = one.lock(path("0000"), True)
        one.insert(path("1111"), pages(11, 4), 0, None)
        one.unlock(receipt)
    assert kv_only.ours.evict_kv(1) == Left((11, 12, 13, 14))
    assert kv_only.theirs.evict_kv(1) == Left((1, 2, 3, 4))


def test_cold_parents_go_too(both: Both) -> None:
    """KV that nothing can use any more does not outlive the leaf."""
    for one in both:
        one.insert(path("00"), pages(1, 2), 0, 1)
        one.insert(path("0000"), pages(1, 4), 2, 2)
        assert one.evict_states(1) == Left((), (1,))
    assert both.ours.evict_kv(1) == Left((1, 2, 3, 4), (2,))
    assert both.theirs.evict_kv(1) == Left((3, 4), (2,))
    assert both.theirs.match(path("00"), None)[:2] == (0, 2)


def test_cold_leaves_first(both: Both) -> None:
    """A leaf that has lost its state goes first, though its neighbour is older."""
    for one in both:
        one.insert(path("0000"), pages(1, 4), 0, 1)
        one.insert(path("1111"), pages(11, 4), 0, 2)
        receipts = one.lock(path("0000"), True), one.lock(path("1111"), False)
        assert one.evict_states(1) == Left((), (2,))
        for receipt in receipts:
            one.unlock(receipt)
    assert both.ours.evict_kv(1) == Left((11, 12, 13, 14))
    assert both.theirs.evict_kv(1) == Left((1, 2, 3, 4), (1,))


def test_state_takes_leaf(both: Both) -> None:
    """A shortage of states costs no KV here: that stays as a hint of a branch, and goes first."""
    for one in both:
        one.insert(path("0000"), pages(1, 4), 0, 1)
    assert both.ours.evict_states(1) == Left((), (1,))
    assert both.theirs.evict_states(1) == Left((1, 2, 3, 4), (1,))
    assert both.ours.match(path("0000"), None)[:2] == (0, 4)
    assert both.theirs.match(path("0000"), None)[:2] == (0, 0)


def test_insert_without_a_state(both: Both) -> None:
    """Ours takes KV alone, as a hint; SGLang's core stops."""
    both.ours.insert(path("00"), pages(1, 2), 0, None)
    assert both.ours.match(path("00"), None)[:2] == (0, 2)
    with pytest.raises((AssertionError, RuntimeError)):
        both.theirs.insert(path("00"), pages(1, 2), 0, None)


def test_insert_of_part_of_a_page(both: Both) -> None:
    """Ours refuses; SGLang drops the tail, and takes the state for one of the shorter key."""
    key = key_of(path("00"), PAGE, tail=2)
    with pytest.raises(ValueError, match="multiples of 4"):
        both.ours.tree.insert(key, Runs([(1, 2)]), owned_from=0, state=1)
    both.theirs.theirs.insert(key, pages(1, 3), 0, 1)
    assert both.theirs.match(path("00"), None)[:2] == (2, 2)


def test_insert_after_the_prefix_went(kv_only: Both) -> None:
    """Ours refuses; SGLang takes the caller's word for pages that are free meanwhile."""
    for one in kv_only:
        one.insert(path("00"), pages(1, 2), 0, None)
        assert one.evict_kv(1) == Left((1, 2))
    with pytest.raises(ValueError, match="holds 0 tokens"):
        kv_only.ours.insert(path("0000"), pages(1, 4), 2, None)
    kv_only.theirs.insert(path("0000"), pages(1, 4), 2, None)
    assert kv_only.theirs.match(path("0000"), None) == (4, 4, [1, 2, 3, 4])


def test_receipt_spent_twice(kv_only: Both) -> None:
    """Ours refuses; in SGLang the second time takes another's protection."""
    spent = []
    for one in kv_only:
        one.insert(path("00"), pages(1, 2), 0, None)
        spent.append(one.lock(path("00"), True))
        one.lock(path("00"), True)
        one.unlock(spent[-1])
        assert one.sizes()[:2] == (0, 2)
    with pytest.raises(LockError):
        kv_only.ours.unlock(spent[0])
    kv_only.theirs.unlock(spent[1])
    assert kv_only.ours.sizes()[:2] == (0, 2)
    assert kv_only.theirs.sizes()[:2] == (2, 0)


def test_reset(both: Both) -> None:
    """Ours refuses while anything is locked, and says what to free; SGLang does neither."""
    receipts = []
    for one in both:
        one.insert(path("00"), pages(1, 2), 0, 1)
        receipts.append(one.lock(path("00"), True))
    with pytest.raises(LockError):
        both.ours.tree.reset()
    both.theirs.theirs.reset()
    assert both.theirs.sizes() == (0, 0, 0, 0)
    both.ours.unlock(receipts[0])
    freed = both.ours.tree.reset()
    assert (list(freed.pages), freed.states) == ([1, 2], (1,))
