"""Full KV that lies elsewhere: what the tree is told, what it refuses, which nodes are locked."""

from __future__ import annotations

from array import array

import pytest

from cachepawl.errors import ArgumentError, OwnershipError, UnknownNode
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key, Runs


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


def insert(tree: RadixTree, tokens: tuple[int, ...], first: int) -> Node:
    found = tree.peek(key(*tokens))
    start = found.kv_len
    pages = Runs([(first, len(tokens) - start)])
    return tree.insert(key(*tokens), pages, owned_from=start, state=None).node


@pytest.fixture
def tree() -> RadixTree:
    """1 2 3 in pages 10, 11, 12, and 1 2 7 8 that leaves it with pages 20, 21."""
    tree = RadixTree(1, has_states=False)
    insert(tree, (1, 2, 3), 10)
    insert(tree, (1, 2, 7, 8), 20)
    return tree


def node_of(tree: RadixTree, *tokens: int) -> Node:
    return tree.peek(key(*tokens)).deepest


def test_a_node_reads_its_new_pages(tree: RadixTree) -> None:
    leaf = node_of(tree, 1, 2, 7, 8)
    before = [(n.kv_stamp, n.serial) for n in tree.walk()]
    tree.move_pages(leaf, Runs([(30, 1), (21, 1)]))
    assert list(tree.path_pages(leaf)) == [10, 11, 30, 21]
    assert 20 not in tree.owned_pages
    assert 30 in tree.owned_pages
    assert [(n.kv_stamp, n.serial) for n in tree.walk()] == before
    tree.check(2)
    insert(tree, (9,), 20)
    tree.check(2)
    assert list(tree.evict_kv(leaf).pages) == [30, 21]


def test_locks_hold_and_splits_go_through_moved_pages(tree: RadixTree) -> None:
    leaf = node_of(tree, 1, 2, 7, 8)
    receipt, _ = tree.lock(leaf)
    tree.move_pages(leaf, Runs([(30, 2)]))
    insert(tree, (1, 2, 7, 5), 40)
    assert list(tree.path_pages(leaf)) == [10, 11, 30, 31]
    tree.check(2)
    assert sorted(page for part in tree.unlock(receipt) for page in part) == [10, 11, 30, 31]


def test_wrong_moves_change_nothing(tree: RadixTree) -> None:
    leaf = node_of(tree, 1, 2, 7, 8)
    for pages, error in (
        (Runs([(30, 1)]), ArgumentError),
        (Runs([(12, 1), (30, 1)]), OwnershipError),  # another node's
        (Runs.of_pages([30, 30]), OwnershipError),
    ):
        with pytest.raises(error):
            tree.move_pages(leaf, pages)
        assert list(leaf.pages) == [20, 21]
        tree.check(2)
    tree.evict_kv(leaf)
    with pytest.raises(UnknownNode):
        tree.move_pages(leaf, Runs([(30, 2)]))


def test_locked_nodes_are_found_from_the_receipts(tree: RadixTree) -> None:
    assert tree.locked_nodes() == []
    deep, other = node_of(tree, 1, 2, 7, 8), node_of(tree, 1, 2, 3)
    receipts = [tree.lock(node).receipt for node in (deep, other, deep, tree.root)]
    found = tree.locked_nodes()
    assert found == sorted((n for n in tree.walk() if n.full_lock), key=lambda n: n.serial)
    assert len(found) == 3
    for receipt in receipts:
        tree.unlock(receipt)
    assert tree.locked_nodes() == []
