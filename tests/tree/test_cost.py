"""Cost grows with the path, never with the tree.  Counted, not timed.

Every node is turned into one that counts what is read and written on it, so a
verb that looked at siblings, or walked a list, would be seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from cachepawl.tree import Node, RadixTree
from cachepawl.types import NO_PAGES, Key, Runs

STEP = 8
"""Tokens of an edge; page 4."""


class CountingNode(Node):
    """A node that notes each access."""

    __slots__ = ()
    seen: list[int] = []  # noqa: RUF012 - shared on purpose

    def __getattribute__(self, name: str) -> object:
        CountingNode.seen.append(id(self))
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: object) -> None:
        CountingNode.seen.append(id(self))
        super().__setattr__(name, value)


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


def grow(siblings: int, depth: int, has_states: bool) -> RadixTree:
    """A path of `depth` edges; that many other leaves at the root and at every second node."""
    tree = RadixTree(4, has_states=has_states)
    page = 1

    def put(tokens: list[int]) -> None:
        nonlocal page
        have = tree.peek(key(*tokens)).kv_len
        count = (len(tokens) - have) // 4
        state = page if has_states else None
        tree.insert(key(*tokens), Runs([(page, count)]), owned_from=have, state=state)
        page += count

    for n in range(depth):
        stem = list(range((n + 1) * STEP))
        put(stem)
        if n % 2 == 0:
            for i in range(siblings):
                put([*stem[: n * STEP], *range(10**6 + i * STEP, 10**6 + (i + 1) * STEP)])
    for node in tree.walk():
        node.__class__ = CountingNode
    return tree


def verbs(tree: RadixTree, depth: int) -> dict[str, Callable[[], object]]:
    """In an order in which each finds what it needs."""
    tokens = list(range(depth * STEP))
    length = len(tokens)
    whole = key(*tokens)
    fork = key(*tokens[:-4], 7, 7, 7, 7)
    found = tree.peek(whole).deepest
    receipts = []
    return {
        "match": lambda: tree.match(whole, length - 1),
        "match inside": lambda: tree.match(key(*tokens[:-4])),
        "peek": lambda: tree.peek(whole),
        "touch": lambda: tree.touch(whole),
        "lock": lambda: receipts.append(tree.lock(found).receipt),
        "insert duplicate": lambda: tree.insert(
            whole, NO_PAGES, owned_from=len(tokens), state=None
        ),
        "unlock": lambda: tree.unlock(receipts.pop()),
        "insert split": lambda: tree.insert(
            fork, Runs([(10**7, 1)]), owned_from=length - 4, state=None
        ),
        "evict leaf": lambda: tree.evict_kv(found),
        "evict oldest": lambda: tree.evict_kv(tree.kv_list.oldest() or found),
        "counters": lambda: tree.check(1),
    }


def count(siblings: int, depth: int, has_states: bool) -> dict[str, tuple[int, int]]:
    """Per verb: accesses and distinct nodes."""
    tree = grow(siblings, depth, has_states)
    result = {}
    for name, verb in verbs(tree, depth).items():
        CountingNode.seen.clear()
        verb()
        result[name] = len(CountingNode.seen), len(set(CountingNode.seen))
    return result


@pytest.mark.parametrize("has_states", [True, False])
def test_siblings_cost_nothing(has_states: bool) -> None:
    assert count(8, 4, has_states) == count(1000, 4, has_states)


@pytest.mark.parametrize("has_states", [True, False])
def test_a_path_costs_its_length(has_states: bool) -> None:
    short, long = count(8, 8, has_states), count(8, 64, has_states)
    for name, (reads, nodes) in long.items():
        assert reads <= 8 * short[name][0] + 8, name
        # Besides the path: list neighbours of each of its nodes.
        assert nodes <= 3 * 64 + 8, name
    for name in ("evict leaf", "evict oldest", "counters"):
        assert long[name][0] <= short[name][0] + 8, name
