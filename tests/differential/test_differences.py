"""The smallest case of each deliberate difference; docs/differences.md gives the reasons.

A path is a namespace and one letter a page; pages are numbered as they are brought.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from paths import Path, key_of
from subjects import OurSubject, TheirSubject
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


# Sliding windows: 4 tokens a page, a window of 8 tokens, a window page for each page


@pytest.fixture
def windowed(core: str) -> Both:
    """Without states."""
    ours = OurSubject(PAGE, has_states=False, window=8)
    return Both(ours, TheirSubject(core, PAGE, has_states=False, window=8))


def publish(one: OurSubject | TheirSubject, letters: str, first_page: int, start: int = 0) -> Left:
    """All of a key with the caller's pages; window pages, 100 higher, from page `start` on."""
    own = pages(first_page, len(letters))
    return one.insert(path(letters), own, 0, None, (start, [page + 100 for page in own[start:]]))


def test_windows_alike(windowed: Both) -> None:
    """Usable is where the window before is whole, or nothing is missing back to the root."""
    for one in windowed:
        publish(one, "000000", 1, start=2)  # tombstones at 0 and 1
        assert one.match(path("000000"), None)[:2] == (6, 6)
        assert one.match(path("0000"), None)[:2] == (4, 4)
        assert one.match(path("0001"), None)[:2] == (0, 3)  # one page of the window is missing
        publish(one, "11", 11)
        assert one.match(path("1"), None)[:2] == (1, 1)  # less than a window, back to the root


def test_a_tombstones_window_comes_back(windowed: Both) -> None:
    """Ours keeps its KV pages and takes the window; SGLang takes both, if the KV is unlocked."""
    for one in windowed:
        publish(one, "0000", 1, start=4)
        assert one.match(path("0000"), None)[:2] == (0, 4)
    assert publish(windowed.ours, "0000", 11) == Left((11, 12, 13, 14))
    assert publish(windowed.theirs, "0000", 11) == Left((1, 2, 3, 4))
    assert windowed.ours.match(path("0000"), None) == (4, 4, [1, 2, 3, 4])
    assert windowed.theirs.match(path("0000"), None) == (4, 4, [11, 12, 13, 14])


def test_a_locked_tombstones_window_comes_back(windowed: Both) -> None:
    """Then both do as ours does, and the window is locked at once."""
    for one in windowed:
        publish(one, "00", 1, start=2)
        one.lock(path("00"), True)
        assert publish(one, "00", 11) == Left((11, 12))
        assert one.window_sizes() == (0, 2)


def test_new_leaves_are_capped(windowed: Both) -> None:
    """A lock keeps whole edges, and SGLang makes the last edge as short as a window."""
    for one in windowed:
        publish(one, "000000", 1)
        one.lock(path("000000"), True)
    assert windowed.ours.window_sizes() == (0, 6)
    assert windowed.theirs.window_sizes() == (4, 2)


def test_window_takes_leaf(windowed: Both) -> None:
    """As with states: here the KV stays, and goes first."""
    for one in windowed:
        publish(one, "00", 1)
    assert windowed.ours.evict_window(1) == Left((), (), (101, 102))
    assert windowed.theirs.evict_window(1) == Left((1, 2), (), (101, 102))


def test_window_takes_state(core: str) -> None:
    """SGLang gives up the state of a node with its window; ours keeps it.

    The window may come back with the next request, and the state is of use again then.
    """
    ours = OurSubject(PAGE, has_states=True, window=8)
    theirs = TheirSubject(core, PAGE, has_states=True, window=8)
    for one in (ours, theirs):
        one.insert(path("00"), [1, 2], 0, 7, (0, [101, 102]))
        one.insert(path("000"), [1, 2, 3], 2, 8, (2, [103]))
        one.lock(path("000"), True)
        one.insert(path("00000"), [1, 2, 3, 4, 5], 3, 9, (3, [104, 105]))
        one.insert(path("0000000"), [1, 2, 3, 4, 5, 6, 7], 5, 10, (5, [106, 107]))
    # Locked: the window of 000, which is 00 and 000.  Next to go is 00000, an inner node.
    assert ours.evict_window(1).states == ()
    assert theirs.evict_window(1).states == (9,)


def three_edges(one: OurSubject | TheirSubject) -> None:
    """000 in edges of one page each."""
    publish(one, "0", 1)
    one.insert(path("00"), [1, 2], 1, None, (1, [102]))
    one.insert(path("000"), [1, 2, 3], 2, None, (2, [103]))


def test_match_uses_one_page_more(windowed: Both) -> None:
    """A use of three pages is one of the last two here, of all three in SGLang."""
    for one in windowed:
        three_edges(one)
        publish(one, "11", 11)
        one.match(path("000"), None)
    assert windowed.ours.evict_window(1) == Left((), (), (101,))
    assert windowed.theirs.evict_window(1) == Left((11, 12), (), (111, 112))


def test_window_goes_from_which_end(windowed: Both) -> None:
    """Of one use, ours gives up what is deepest first, SGLang what is nearest to the root."""
    for one in windowed:
        three_edges(one)
        one.match(path("000"), None)
    assert windowed.ours.evict_window(2) == Left((), (), (101, 103))
    assert windowed.theirs.evict_window(2) == Left((), (), (101, 102))


def test_window_lock_can_end_early(core: str) -> None:
    """SGLang gives a request's window up while its KV stays locked; our receipt is one piece."""
    theirs = TheirSubject(core, PAGE, has_states=False, window=8)
    publish(theirs, "00", 1)
    receipt = theirs.lock(path("00"), True)
    assert (theirs.sizes()[:2], theirs.window_sizes()) == ((0, 2), (0, 2))
    theirs.theirs.release_window(receipt)
    assert (theirs.sizes()[:2], theirs.window_sizes()) == ((0, 2), (2, 0))
