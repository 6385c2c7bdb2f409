"""The tree against a model written without nodes, links or lists.

The model knows, by plain prefixes, which pages are cached, where states are, where
edges end, who locks what, and when each was used; everything is found by scanning.
A page pool beside it sees every page with two owners, every leak and double free.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cachepawl.errors import LockError
from cachepawl.policy.lru import LRU
from cachepawl.tree import Freed, Lock, Node, RadixTree
from cachepawl.types import Key, Runs

Path = tuple[Any, ...]
"""A namespace, then one letter a page.  A prefix of it is a slice of at least 2."""

NAMESPACES = (b"", b"x", bytes(8))
"""The last one looks like a token."""


class Pool:
    """Ids from 0 on, handed out lowest first, so a double free meets its next owner."""

    def __init__(self) -> None:
        self.free: list[int] = []
        self.used: set[int] = set()

    def take(self) -> int:
        item = min(self.free, default=len(self.used))
        if item in self.free:
            self.free.remove(item)
        assert item not in self.used
        self.used.add(item)
        return item

    def give(self, item: int) -> None:
        assert item in self.used, f"{item} freed twice"
        self.used.remove(item)
        self.free.append(item)


class Model:
    """What must be cached, by prefixes.  Everything is a scan."""

    def __init__(self, has_states: bool) -> None:
        self.has_states = has_states
        self.page: dict[Path, int] = {}  # cached prefix -> id of its last page
        self.ends: set[Path] = set()  # prefixes at which an edge ends
        self.state: dict[Path, int] = {}
        self.receipts: list[Path] = []  # one entry for each open receipt
        self.path_receipts: list[Path] = []  # one entry for each open receipt
        self.kv_used: dict[Path, int] = {}
        self.state_used: dict[Path, int] = {}
        self.cold_since: dict[Path, int] = {}
        self.now = 0

    def matched(self, path: Path) -> Path:
        """The longest cached prefix; of length 1, the bare namespace, if nothing is."""
        return max(
            (path[:n] for n in range(1, len(path) + 1) if n == 1 or path[:n] in self.page), key=len
        )

    def cover(self, prefix: Path) -> Path:
        """The end of the edge on which a cached prefix ends."""
        if len(prefix) == 1:
            return prefix
        return min((end for end in self.ends if end[: len(prefix)] == prefix), key=len)

    def on_path(self, end: Path) -> list[Path]:
        return [other for other in self.ends if end[: len(other)] == other]

    def edge(self, end: Path) -> list[Path]:
        start = max((len(other) for other in self.on_path(end) if other != end), default=1)
        return [end[:n] for n in range(start + 1, len(end) + 1)]

    def pages(self, end: Path) -> list[int]:
        return [self.page[prefix] for prefix in self.edge(end)]

    def kv_locks(self, end: Path) -> int:
        both = (*self.receipts, *self.path_receipts)
        return sum(receipt[: len(end)] == end for receipt in both)

    def holders(self, keep_state: bool) -> list[Path]:
        return self.receipts if keep_state else self.path_receipts

    def leaf(self, end: Path) -> bool:
        return not any(other != end and other[: len(end)] == end for other in self.ends)

    def cold(self, end: Path) -> bool:
        return (
            self.has_states and self.leaf(end) and end not in self.state and not self.kv_locks(end)
        )

    def use(self, end: Path) -> None:
        """Make what is unlocked and not cold on the path the newest."""
        self.now += 1
        for other in self.on_path(end):
            if not self.kv_locks(other) and not self.cold(other):
                self.kv_used[other] = self.now

    def settle(self) -> None:
        """Give the node that this step made cold its place behind the others."""
        for end in self.ends:
            if not self.cold(end):
                self.cold_since.pop(end, None)
            elif end not in self.cold_since:
                self.now += 1
                self.cold_since[end] = self.now

    def usable(self, path: Path, pages: int) -> Path:
        """The prefix, of at most so many pages, that a request may start from."""
        hit = self.matched(path)[: max(pages, 0) + 1]
        if not self.has_states:
            return hit
        return max((e for e in self.state if hit[: len(e)] == e), key=len, default=path[:1])

    def insert(self, path: Path, pages: list[int], first: int, slot: int | None) -> list[int]:
        hit = self.matched(path)
        if len(hit) > 1 and hit not in self.ends:
            self.ends.add(hit)  # a split: the state and the receipts stay at the old end
        spare = []
        for n, page in zip(range(first + 2, len(path) + 1), pages, strict=True):
            if path[:n] in self.page:
                spare.append(page)
            else:
                self.page[path[:n]] = page
        self.ends.add(path)
        if slot is not None:
            self.state[path] = slot
        self.use(path)
        if path in self.state and path not in self.receipts:
            self.state_used[path] = self.now
        return spare

    def kv_order(self) -> list[Path]:
        """Leaves in the order in which they must go."""
        leaves = [end for end in self.ends if self.leaf(end) and not self.kv_locks(end)]
        return sorted(
            leaves,
            key=lambda e: (0, self.cold_since[e]) if self.cold(e) else (1, self.kv_used[e]),
        )

    def state_order(self) -> list[Path]:
        unlocked = [end for end in self.state if end not in self.receipts]
        return sorted(unlocked, key=lambda e: self.state_used[e])

    def drop(self, end: Path) -> tuple[list[int], list[int]]:
        pages, slots = [], []
        while True:
            pages += self.pages(end)
            if end in self.state:
                slots.append(self.state.pop(end))
            for prefix in self.edge(end):
                del self.page[prefix]
            above = max((o for o in self.on_path(end) if o != end), key=len, default=None)
            self.ends.remove(end)
            self.cold_since.pop(end, None)
            if above is None or not self.cold(above):
                return pages, slots
            end = above


def choose(order: list[Path], ends: list[Path], which: int, oldest: bool) -> Path:
    """The one that must go, one that may, or (once in eight) any, rightly or wrongly."""
    if not order or which % 8 == 0:
        return ends[which // 8 % len(ends)]
    return order[0 if oldest else which % len(order)]


class TreeMachine(RuleBasedStateMachine):
    paths = st.tuples(
        st.sampled_from(NAMESPACES),
        st.lists(st.sampled_from([0, 1, 2]), max_size=8),
    ).map(lambda pair: (pair[0], *pair[1]))
    picks = st.integers(0, 10**4)
    batches = st.lists(st.tuples(paths, picks), min_size=1, max_size=6)

    @initialize(
        page=st.sampled_from([1, 4, 16, 64]),
        has_states=st.sampled_from([True, True, False]),
        batch=batches,
        states=picks,
    )
    def start(
        self, page: int, has_states: bool, batch: list[tuple[Path, int]], states: int
    ) -> None:
        self.size = page
        self.tree = RadixTree(page, has_states=has_states)
        self.model = Model(has_states)
        self.page_pool = Pool()
        self.slot_pool = Pool()
        self.open: list[tuple[Lock, Path]] = []
        self.pinned: dict[int, bool] = {}
        self.spent: list[Lock] = []
        self.dead: list[Node] = []
        self.insert_some(batch, states)

    # Between the two worlds

    def letter(self, letter: int) -> list[int]:
        """The pages of the alphabet: 0 and 1 differ in the last token, 2 in the first."""
        tokens = [0] * self.size
        if letter:
            tokens[-1 if letter == 1 else 0] = letter
        return tokens

    def key(self, path: Path, tail: int = 0) -> Key:
        tokens = [token for letter in path[1:] for token in self.letter(letter)]
        return Key(array("q", tokens + [0] * tail).tobytes(), path[0])

    def path_of(self, node: Node, namespace: bytes) -> Path:
        edges = []
        while node.parent is not None:
            edges.append(node.key)
            node = node.parent
        raw = array("q", b"".join(reversed(edges)))
        letters = {tuple(self.letter(n)): n for n in range(3)}
        pages = [tuple(raw[i : i + self.size]) for i in range(0, len(raw), self.size)]
        return (namespace, *(letters[page] for page in pages))

    def places(self) -> dict[Path, Node]:
        found = {}
        for node in self.tree.walk():
            top = node
            while top.parent is not self.tree.root:
                assert top.parent is not None
                top = top.parent
            namespace = top.hook[: -8 * self.size]
            found[self.path_of(node, namespace)] = node
        return found

    def picture(self) -> object:
        return (
            self.tree.render(10**6),
            self.tree.clock,
            [id(node) for node in self.tree.kv_list],
            [id(node) for node in self.tree.state_list],
        )

    def unchanged(self, act: Callable[[], object], error: type[Exception]) -> None:
        before = self.picture()
        with pytest.raises(error):
            act()
        assert self.picture() == before

    def freed(self, freed: Freed, pages: list[int], slots: list[int]) -> None:
        assert sorted(freed.pages) == sorted(pages)
        assert sorted(freed.states) == sorted(slots)
        for page in freed.pages:
            self.page_pool.give(page)
        for slot in freed.states:
            self.slot_pool.give(slot)

    def near(self, path: Path, which: int) -> Path:
        """A path as drawn, or one that leaves a cached path somewhere."""
        ends = sorted(self.model.ends)
        if which % 4 == 0 or not ends:
            return path
        base = ends[which // 4 % len(ends)]
        return base[: 1 + which % len(base)] + path[1:4] if which % 4 < 3 else base

    # Steps

    @precondition(lambda self: len(self.model.ends) < 40)
    @rule(batch=batches, states=picks)
    def insert_some(self, batch: list[tuple[Path, int]], states: int) -> None:
        for n, (path, which) in enumerate(batch):
            self.insert(path, which, 0, bool(states >> n & 1))
            self.agree()

    @rule(path=paths, which=picks, first=st.integers(0, 8), with_state=st.booleans())
    def insert(self, path: Path, which: int, first: int, with_state: bool) -> None:
        path = self.near(path, which)
        hit = len(self.model.matched(path)) - 1
        first = min(first, hit)
        pages = [self.page_pool.take() for _ in range(len(path) - 1 - first)]
        with_state = with_state and self.tree.has_states and len(path) > 1
        slot = self.slot_pool.take() if with_state else None
        taken = with_state and path not in self.model.state
        done = self.tree.insert(
            self.key(path), Runs.of_pages(pages), owned_from=first * self.size, state=slot
        )
        assert done.matched_len == hit * self.size
        assert done.node.end == (len(path) - 1) * self.size
        assert done.state_taken == taken
        if len(path) == 1:
            assert done.node is self.tree.root
            return
        spare = self.model.insert(path, pages, first, slot if taken else None)
        assert list(done.duplicates) == spare
        for page in done.duplicates:
            self.page_pool.give(page)
        if slot is not None and not taken:
            self.slot_pool.give(slot)
        assert self.path_of(done.node, path[0]) == path

    @rule(
        path=paths,
        which=picks,
        tail=st.integers(0, 3),
        limit=st.none() | st.integers(-2, 8 * 64),
    )
    def match(self, path: Path, which: int, tail: int, limit: int | None) -> None:
        path = self.near(path, which)
        key = self.key(path, min(tail, self.size - 1))
        if limit is not None:
            limit = limit if limit < 0 else min(limit, len(key.tokens) // 8)
        hit = self.model.matched(path)
        pages = len(path) if limit is None else limit // self.size
        best = self.model.usable(path, pages)
        before = self.picture()
        answer = self.tree.peek(key, limit)
        assert self.picture() == before
        assert answer == self.tree.match(key, limit)
        assert answer.kv_len == (len(hit) - 1) * self.size
        assert answer.usable_len == (len(best) - 1) * self.size
        assert limit is None or answer.usable_len <= max(limit, 0)
        assert self.path_of(answer.deepest, path[0]) == self.model.cover(hit)
        assert self.path_of(answer.node, path[0]) == self.model.cover(best)
        if len(hit) > 1:
            self.model.use(self.model.cover(hit))
            if best in self.model.state and best not in self.model.receipts:
                self.model.state_used[best] = self.model.now

    @rule(path=paths, which=picks)
    def touch(self, path: Path, which: int) -> None:
        path = self.near(path, which)
        self.tree.touch(self.key(path))
        hit = self.model.matched(path)
        if len(hit) > 1:
            self.model.use(self.model.cover(hit))

    @rule(path=paths, which=picks, deepest=st.booleans(), keep_state=st.booleans())
    def lock(self, path: Path, which: int, deepest: bool, keep_state: bool) -> None:
        path = self.near(path, which)
        answer = self.tree.peek(self.key(path))
        node = answer.deepest if deepest else answer.node
        end = self.path_of(node, path[0])
        fresh = [e for e in self.model.on_path(end) if not self.model.kv_locks(e)]
        locked = self.tree.lock(node) if keep_state else self.tree.lock_path(node)
        assert [list(runs) for runs in locked.pinned] == [
            self.model.pages(e) for e in sorted(fresh, key=len, reverse=True)
        ]
        for runs in locked.pinned:
            for page in runs:
                assert page not in self.pinned
                self.pinned[page] = True
        self.open.append((locked.receipt, end))
        if len(end) > 1:
            self.model.holders(keep_state).append(end)

    @precondition(lambda self: len(self.open) > 2)
    @rule(which=picks)
    def unlock(self, which: int) -> None:
        receipt, end = self.open.pop(which % len(self.open))
        locked = [e for e in self.model.on_path(end) if self.model.kv_locks(e) == 1]
        for runs in self.tree.unlock(receipt):
            for page in runs:
                del self.pinned[page]
        self.spent.append(receipt)
        if len(end) > 1:
            self.model.holders(receipt.keeps_state).remove(end)
            self.model.now += 1
            for e in locked:
                self.model.kv_used[e] = self.model.now
            if receipt.keeps_state and end in self.model.state and end not in self.model.receipts:
                self.model.state_used[end] = self.model.now

    @precondition(lambda self: len(self.model.ends) > 2)
    @rule(which=picks, oldest=st.booleans())
    def evict_kv(self, which: int, oldest: bool) -> None:
        places = self.places()
        order = self.model.kv_order()
        end = choose(order, sorted(places), which, oldest)
        node = places[end]
        if end in order:
            assert end != order[0] or node is self.tree.kv_victim()
            freed = self.tree.evict_kv(node)
            self.freed(freed, *self.model.drop(end))
            assert freed.nodes == len(places) - len(self.places())
            self.dead.append(node)
        else:
            self.unchanged(lambda: self.tree.evict_kv(node), ValueError)

    @precondition(lambda self: self.model.state)
    @rule(which=picks, oldest=st.booleans())
    def evict_state(self, which: int, oldest: bool) -> None:
        places = self.places()
        order = self.model.state_order()
        end = choose(order, sorted(places), which, oldest)
        node = places[end]
        if end in order:
            assert end != order[0] or node is self.tree.state_victim()
            freed = self.tree.evict_state(node)
            self.freed(freed, [], [self.model.state.pop(end)])
            assert freed.nodes == 0
        else:
            self.unchanged(lambda: self.tree.evict_state(node), ValueError)

    @rule(path=paths, which=picks, wrong=st.sampled_from(["prefix", "pages", "owned", "tail"]))
    def insert_refused(self, path: Path, which: int, wrong: str) -> None:
        path = self.near(path, which)
        hit, length = len(self.model.matched(path)) - 1, len(path) - 1
        tail = 1 if wrong == "tail" and self.size > 1 else 0
        first, count = hit * self.size, length - hit
        if wrong == "prefix" and hit < length:
            first, count = first + self.size, count - 1
        elif wrong == "owned":
            first = (length + 1) * self.size
        elif not tail:
            count += 1
        pages = Runs([(10**6, count)])
        self.unchanged(
            lambda: self.tree.insert(self.key(path, tail), pages, owned_from=first, state=None),
            ValueError,
        )

    @precondition(lambda self: self.spent or self.dead)
    @rule()
    def use_after_end(self) -> None:
        root = self.tree.root
        for receipt in self.spent:
            self.unchanged(partial(self.tree.unlock, receipt), LockError)
        for node in [*self.dead, RadixTree(self.size).root]:
            self.unchanged(partial(self.tree.lock, node), LockError)
            self.unchanged(partial(self.tree.evict_kv, node), ValueError)
            self.unchanged(partial(self.tree.evict_state, node), ValueError)
        self.unchanged(partial(self.tree.evict_kv, root), ValueError)
        self.unchanged(partial(self.tree.evict_state, root), ValueError)
        self.spent.clear()
        self.dead.clear()

    @precondition(lambda self: self.tree.num_nodes > 15)
    @rule()
    def reset(self) -> None:
        if self.model.receipts or self.model.path_receipts:
            self.unchanged(self.tree.reset, LockError)
            return
        nodes = list(self.tree.walk())
        freed = self.tree.reset()
        assert freed.nodes == len(nodes)
        self.freed(freed, list(self.model.page.values()), list(self.model.state.values()))
        now = self.model.now
        self.model = Model(self.model.has_states)
        self.model.now = now
        self.dead += nodes

    # After every step

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "tree"):
            return
        tree, model = self.tree, self.model
        model.settle()
        tree.check(2)
        tree.check(1)
        places = self.places()
        assert set(places) == model.ends
        assert tree.num_nodes == len(places)
        for end, node in places.items():
            assert list(node.pages) == model.pages(end)
            assert node.state == model.state.get(end)
            assert node.full_lock == model.kv_locks(end)
            assert node.state_lock == model.receipts.count(end)
            assert list(tree.path_pages(node)) == [
                model.page[end[:n]] for n in range(2, len(end) + 1)
            ]
        locked = [e for e in model.ends if model.kv_locks(e)]
        held = sum(len(model.pages(e)) for e in locked)
        assert tree.full_protected == held * self.size
        assert tree.full_evictable == (len(model.page) - held) * self.size
        assert tree.state_protected == sum(e in model.receipts for e in model.state)
        assert tree.state_evictable == len(model.state) - tree.state_protected
        assert sorted(self.pinned) == sorted(p for e in locked for p in model.pages(e))
        assert self.page_pool.used == set(model.page.values())
        assert self.slot_pool.used == set(model.state.values())
        self.agree_on_order(places)

    def agree_on_order(self, places: dict[Path, Node]) -> None:
        tree = self.tree
        kv_order = [places[e] for e in self.model.kv_order()]
        state_order = [places[e] for e in self.model.state_order()]
        leaves = [node for node in tree.kv_list if not node.children]
        assert leaves[::-1] == kv_order
        assert list(tree.state_list)[::-1] == state_order
        kv, state = LRU.victim(tree, "kv"), LRU.victim(tree, "state")
        assert (kv and kv.node) == (kv_order[0] if kv_order else None)
        assert (state and state.node) == (state_order[0] if state_order else None)
        older = LRU.victim(tree)
        if kv is None or state is None:
            assert older == (kv or state)
        else:
            assert older == (kv if kv.node.kv_stamp <= state.node.state_stamp else state)

    def teardown(self) -> None:
        if not hasattr(self, "tree"):
            return
        while self.open:
            self.unlock(0)
            self.agree()
        while self.model.ends:
            self.evict_kv(1, oldest=True)
            self.agree()
        assert not self.page_pool.used
        assert not self.slot_pool.used


def test_slice(must_pass: Callable[..., None]) -> None:
    must_pass(TreeMachine, runs=100, steps=50)


ROUNDS = int(os.environ.get("TREE_ROUNDS", "13"))
"""Rounds of 80,000 steps: a million steps, unless told otherwise."""


@pytest.mark.stress
@pytest.mark.parametrize("number", range(ROUNDS))
def test_for_long(number: int, must_pass: Callable[..., None]) -> None:
    """The same with fresh seeds, in rounds so that Hypothesis's memory stays bounded."""
    must_pass(TreeMachine, runs=1000, steps=80, fresh=True)
