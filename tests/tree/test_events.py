"""Whoever follows the events knows at every moment what the tree holds."""

from __future__ import annotations

import random
from array import array

import pytest

from cachepawl.errors import ArgumentError
from cachepawl.tree import Node, RadixTree, WindowPart
from cachepawl.tree.events import Cleared, EventLog, Removed, Stored
from cachepawl.tree.hashes import HASH_BYTES
from cachepawl.types import NO_PAGES, Key, Runs

Held = set[tuple[str, bytes]]
KINDS = [
    {"has_full": True, "has_states": False},
    {"has_full": True, "has_states": True},
    {"has_full": True, "has_states": True, "window": 8},
    {"has_full": False, "has_states": True, "window": 6},
    {"has_full": False, "has_states": True},
]


def follow(log: EventLog, held: Held) -> None:
    """What a router does; a block stored twice or removed unseen is an error of ours."""
    for event in log.take():
        if isinstance(event, Cleared):
            held.clear()
            continue
        for digest in event.hashes:
            block = event.kind, digest
            assert (block in held) == isinstance(event, Removed)
            held.symmetric_difference_update({block})


def in_tree(tree: RadixTree) -> Held:
    held: Held = set()
    for node in tree.walk():
        joined = tree.page_hashes(node)
        pages = [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
        if tree.has_full:
            held |= {("full", page) for page in pages}
        if node.window is not None:
            held |= {("window", page) for page in pages}
        if node.state is not None:
            held.add(("state", pages[-1]))
    return held


class Walk:
    """Random inserts, evictions and resets of one tree."""

    def __init__(self, tree: RadixTree, seed: int) -> None:
        self.tree = tree
        self.draw = random.Random(seed)
        self.fresh = 0

    def take(self, count: int) -> Runs:
        self.fresh += count
        return Runs([(self.fresh - count, count)])

    def key(self) -> Key:
        page = self.tree.page_tokens
        letters = [self.draw.randrange(2) for _ in range(self.draw.randrange(1, 7))]
        tokens = [n for n in letters for _ in range(page)]
        return Key(array("q", tokens).tobytes(), self.draw.choice([b"", b"salt"]))

    def insert(self) -> None:
        tree, key = self.tree, self.key()
        length = len(key.tokens) // 8
        count = length // tree.page_tokens
        part = None
        if tree.windows is not None:
            first = self.draw.randrange(count + 1)
            part = WindowPart(first * tree.page_tokens, self.take(count - first))
        state = None
        if tree.has_states and self.draw.random() < 0.7:
            state = self.take(1).page_at(0)
        pages = self.take(count) if tree.has_full else NO_PAGES
        tree.insert(key, pages, owned_from=0, state=state, window=part)

    def step(self) -> None:
        tree = self.tree
        verb = self.draw.randrange(20)
        if verb < 12:
            self.insert()
        elif verb < 15 and (leaf := tree.kv_victim()) is not None:
            tree.evict_kv(leaf)
        elif verb < 17 and (node := tree.state_victim()) is not None:
            tree.evict_state(node)
        elif verb < 19 and (node := tree.window_victim()) is not None:
            tree.evict_window(node)
        elif verb == 19 and self.draw.random() < 0.1:
            tree.reset()


def play(tree: RadixTree, seed: int, steps: int) -> None:
    log, held, walk = tree.log_events(), set(), Walk(tree, seed)
    for _ in range(steps):
        walk.step()
        follow(log, held)
        assert held == in_tree(tree)
    tree.check(2)


@pytest.mark.parametrize("page", [1, 4])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_a_follower_knows_the_tree(kinds: dict[str, int], page: int) -> None:
    for seed in range(5):
        play(RadixTree(page, **kinds), seed, 200)  # type: ignore[arg-type]


class ForgetsStates(RadixTree):
    def _drop_state(self, node: Node) -> int:
        log, self.events = self.events, None
        slot = super()._drop_state(node)
        self.events = log
        return slot


class SplitForgetsHashes(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        kept = node.hashes
        prefix = super()._split(node, at)
        node.hashes = kept and kept[: len(node.hashes or b"")]
        return prefix


@pytest.mark.parametrize("mutant", [ForgetsStates, SplitForgetsHashes])
def test_mutant_is_caught(mutant: type[RadixTree]) -> None:
    with pytest.raises(AssertionError):
        play(mutant(1), seed=0, steps=1000)


def test_blocks_hang_together() -> None:
    """A stored edge names the page before it; a state names the page it ends."""
    tree = RadixTree(4)
    log = tree.log_events()
    stem = Key(array("q", range(8)).tobytes())
    whole = Key(array("q", range(16)).tobytes())
    tree.insert(stem, Runs([(1, 2)]), owned_from=0, state=7)
    tree.insert(whole, Runs([(3, 2)]), owned_from=8, state=None)
    first, state, second = log.take()
    assert isinstance(first, Stored)
    assert isinstance(state, Stored)
    assert isinstance(second, Stored)
    assert (first.kind, first.parent, first.tokens) == ("full", None, stem.tokens)
    assert (state.kind, state.hashes, state.parent) == ("state", first.hashes[1:], first.hashes[0])
    assert state.tokens == stem.tokens[32:]
    assert (second.parent, second.tokens) == (first.hashes[-1], whole.tokens[64:])
    assert log.take() == []


def test_a_log_begins_with_an_empty_tree() -> None:
    tree = RadixTree(4)
    tree.insert(Key(array("q", range(4)).tobytes()), Runs([(1, 1)]), owned_from=0, state=None)
    with pytest.raises(ArgumentError, match="1 nodes are in the tree"):
        tree.log_events()
