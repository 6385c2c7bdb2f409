"""What least recently used names, for one budget and for two."""

from __future__ import annotations

from array import array

from cachepawl.policy.base import Kind, Victim, evict
from cachepawl.policy.lru import LRU
from cachepawl.tree import RadixTree
from cachepawl.types import Key, Runs

KINDS: tuple[Kind | None, ...] = (None, "kv", "state", "window")


def key(first: int, count: int) -> Key:
    return Key(array("q", range(first, first + count)).tobytes())


def grown() -> RadixTree:
    """A chain 0-8-16 with states 1 and 2, then a leaf 100-108 with state 3.  Page 4."""
    tree = RadixTree(4)
    tree.insert(key(0, 8), Runs([(1, 2)]), owned_from=0, state=1)
    tree.insert(key(0, 16), Runs([(3, 2)]), owned_from=8, state=2)
    tree.insert(key(100, 8), Runs([(5, 2)]), owned_from=0, state=3)
    return tree


def drain(tree: RadixTree, kind: Kind | None = None) -> list[tuple[list[int], tuple[int, ...]]]:
    out = []
    while (victim := LRU.victim(tree, kind)) is not None:
        freed = evict(tree, victim)
        tree.check(2)
        out.append((list(freed.pages), freed.states))
    return out


def test_one_budget_takes_the_older_tail() -> None:
    # State 1 is older than any leaf; leaf and state 2 are equal: the leaf goes, and with it
    # the stem, which nothing can use any more.
    assert drain(grown()) == [([], (1,)), ([3, 4, 1, 2], (2,)), ([5, 6], (3,))]


def test_a_match_changes_the_order() -> None:
    tree = grown()
    tree.match(key(0, 16), 15)
    assert drain(tree) == [([], (2,)), ([3, 4], ()), ([5, 6], (3,)), ([1, 2], (1,))]


def test_two_lists_apart() -> None:
    assert drain(grown(), "kv") == [([3, 4], (2,)), ([1, 2], (1,)), ([5, 6], (3,))]
    assert drain(grown(), "state") == [([], (1,)), ([], (2,)), ([], (3,))]


def test_kv_without_states_goes_first() -> None:
    tree = grown()
    newest = tree.insert(key(200, 4), Runs([(9, 1)]), owned_from=0, state=None).node
    assert LRU.victim(tree) == Victim(newest, "kv")


def test_locks_are_respected() -> None:
    tree = grown()
    receipts = [tree.lock(tree.match(k).node).receipt for k in (key(0, 16), key(100, 8))]
    assert LRU.victim(tree, "kv") is None
    only = LRU.victim(tree, "state")
    assert only is not None
    assert only.node.state == 1
    assert LRU.victim(tree) == only
    evict(tree, only)
    assert LRU.victim(tree) is LRU.victim(tree, "state") is None
    for receipt in receipts:
        tree.unlock(receipt)
    assert len(drain(tree)) == 2


def test_naming_changes_nothing() -> None:
    tree = grown()
    before = tree.render()
    for kind in KINDS:
        LRU.victim(tree, kind)
    assert tree.render() == before


def test_an_empty_tree_has_no_victim() -> None:
    for kind in KINDS:
        assert LRU.victim(RadixTree(4), kind) is None
