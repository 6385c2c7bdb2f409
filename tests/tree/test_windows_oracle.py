"""Every subset of kinds against a model without nodes, links or lists.

The model knows, by plain prefixes, which kinds are there, where edges end (what is evicted
at once), and which depths each open receipt protects; everything is found by scanning.
Pools beside it see every id with two owners, every leak and double free.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cachepawl.errors import ArgumentError, LockError
from cachepawl.tree import Freed, Lock, Node, RadixTree
from cachepawl.tree.windows import WindowPart, Windows
from cachepawl.types import NO_PAGES, Key, Runs

Path = tuple[int, ...]
"""One letter a page."""

KINDS = [kinds for kinds in product((True, False), repeat=3) if any(kinds)]
"""Full KV, windows, states."""


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


class Held(NamedTuple):
    """An open receipt: the windows of `(boundary, len(end) pages]` are protected."""

    end: Path
    boundary: int
    keeps_state: bool


class Model:
    """What must be cached, by prefixes.  Depths are tokens.  Everything is a scan."""

    def __init__(self, page: int, full: bool, window: int | None, states: bool) -> None:
        self.size = page
        self.has_full = full
        self.window_size = window
        self.has_states = states
        self.known: set[Path] = set()
        self.page: dict[Path, int] = {}
        self.window: dict[Path, int] = {}
        self.state: dict[Path, int] = {}
        self.ends: set[Path] = set()
        self.held: list[Held] = []
        self.window_used: dict[Path, int] = {}
        self.now = 0

    def depth(self, path: Path) -> int:
        return len(path) * self.size

    def matched(self, path: Path) -> Path:
        hits = (path[:n] for n in range(1, len(path) + 1) if path[:n] in self.known)
        return max(hits, key=len, default=())

    def cover(self, prefix: Path) -> Path:
        """The end of the edge on which a cached prefix ends."""
        if not prefix:
            return ()
        return min((end for end in self.ends if end[: len(prefix)] == prefix), key=len)

    def above(self, end: Path) -> list[Path]:
        """Ends on the path to an end, itself included, deepest first."""
        return sorted((o for o in self.ends if end[: len(o)] == o), key=len, reverse=True)

    def start(self, end: Path) -> int:
        """Pages before an edge."""
        return max((len(o) for o in self.above(end) if o != end), default=0)

    def edge(self, end: Path) -> list[Path]:
        return [end[:n] for n in range(self.start(end) + 1, len(end) + 1)]

    def windowed(self, end: Path) -> bool:
        return end in self.window

    def leaf(self, end: Path) -> bool:
        return not any(other != end and other[: len(end)] == end for other in self.ends)

    def kv_locks(self, end: Path) -> int:
        return sum(held.end[: len(end)] == end for held in self.held)

    def state_locks(self, end: Path) -> int:
        return sum(held.end == end and held.keeps_state for held in self.held)

    def window_locks(self, end: Path) -> int:
        if self.window_size is None:
            return 0
        return sum(
            held.end[: len(end)] == end and self.depth(end) > held.boundary for held in self.held
        )

    def useless(self, end: Path) -> bool:
        return (self.has_states and end not in self.state) or (
            self.window_size is not None and not self.windowed(end)
        )

    def boundary(self, end: Path, depth: int) -> int:
        """Where the edge starts that the window of a depth reaches into."""
        if self.window_size is None:
            return 0
        low = depth - self.window_size
        return max((self.depth(o) for o in self.above(end) if self.depth(o) <= low), default=0)

    def fits(self, prefix: Path) -> bool:
        """Whether all kinds are there that a request at the end of a prefix needs."""
        if prefix and self.has_states and prefix not in self.state:
            return False
        if self.window_size is None:
            return True
        unbroken = 0
        while unbroken < len(prefix) and prefix[: len(prefix) - unbroken] in self.window:
            unbroken += 1
        return unbroken == len(prefix) or unbroken * self.size >= self.window_size

    def usable(self, path: Path, limit: int | None) -> Path:
        hit = self.matched(path)
        pages = len(hit) if limit is None else min(len(hit), max(limit, 0) // self.size)
        return next(hit[:n] for n in range(pages, -1, -1) if self.fits(hit[:n]))

    def use_window(self, end: Path, depth: int) -> None:
        if self.window_size is None:
            return
        for other in self.above(end):
            if self.depth(other) > depth - self.window_size and other in self.window:
                self.window_used[other] = self.now

    def cut(self, end: Path) -> None:
        """An edge ends here from now on; what the new end has counts as used now."""
        if end and end not in self.ends:
            self.ends.add(end)
            self.window_used[end] = self.now

    def insert(
        self, path: Path, pages: list[int], first: int, slot: int | None, base: int, wide: list[int]
    ) -> tuple[list[int], list[int]]:
        """Returns the pages and the window pages that were there already.  Counts in pages."""
        self.now += 1
        self.cut(self.matched(path))
        spare = []
        for n in range(first + 1, len(path) + 1):
            prefix = path[:n]
            if self.has_full:
                if prefix in self.known:
                    spare.append(pages[n - first - 1])
                else:
                    self.page[prefix] = pages[n - first - 1]
            self.known.add(prefix)
        self.ends.add(path)
        if slot is not None:
            self.state[path] = slot
        spare_wide = []
        if wide:
            around = self.cover(path[: base + 1])
            if not self.windowed(around):
                self.cut(path[:base])
            for n, page in zip(range(base + 1, len(path) + 1), wide, strict=True):
                if path[:n] in self.window:
                    spare_wide.append(page)
                else:
                    self.window[path[:n]] = page
                    self.window_used[self.cover(path[:n])] = self.now
        self.use_window(path, self.depth(path))
        return spare, spare_wide

    def drop(self, end: Path) -> tuple[list[int], list[int], list[int], int]:
        """Pages, window pages, slots, edges."""
        pages, windows, slots = [], [], []
        edges = 0
        while True:
            edges += 1
            for prefix in self.edge(end):
                self.known.remove(prefix)
                if self.has_full:
                    pages.append(self.page.pop(prefix))
                if prefix in self.window:
                    windows.append(self.window.pop(prefix))
            if end in self.state:
                slots.append(self.state.pop(end))
            rest = self.above(end)[1:]
            self.ends.remove(end)
            if not rest:
                break
            end = rest[0]
            if not self.leaf(end) or self.kv_locks(end) or not self.useless(end):
                break
        return pages, windows, slots, edges


class WindowMachine(RuleBasedStateMachine):
    paths = st.lists(st.sampled_from([0, 0, 1]), max_size=7).map(tuple)
    picks = st.integers(0, 10**4)

    @initialize(
        page=st.sampled_from([1, 4]),
        kinds=st.sampled_from(KINDS),
        span=st.sampled_from([(1, 0), (2, 0), (3, 1)]),
    )
    def begin(self, page: int, kinds: tuple[bool, bool, bool], span: tuple[int, int]) -> None:
        full, windows, states = kinds
        window = span[0] * page + span[1] if windows else None
        self.size = page
        self.make = partial(RadixTree, page, has_full=full, window=window, has_states=states)
        self.tree = self.make()
        self.model = Model(page, full, window, states)
        self.pages, self.wide, self.slots = Pool(), Pool(), Pool()
        self.open: list[tuple[Lock, Held]] = []
        self.spent: list[Lock] = []
        self.dead: list[Node] = []

    # Between the two worlds

    def key(self, path: Path, tail: int = 0) -> Key:
        tokens = [t for letter in path for t in (*[0] * (self.size - 1), letter)]
        return Key(array("q", tokens + [0] * tail).tobytes())

    def path_of(self, node: Node) -> Path:
        edges = []
        while node.parent is not None:
            edges.append(node.key)
            node = node.parent
        return tuple(array("q", b"".join(reversed(edges)))[self.size - 1 :: self.size])

    def places(self) -> dict[Path, Node]:
        return {self.path_of(node): node for node in self.tree.walk()}

    def picture(self) -> object:
        tree = self.tree
        windows = tree.windows
        return (
            tree.render(10**6),
            tree.clock,
            [(node, node.window, node.full_lock, node.window_lock) for node in tree.walk()],
            list(tree.kv_list),
            list(tree.state_list),
            list(windows.newest_first()) if windows is not None else None,
            len(tree.owned_pages),
            len(tree.owned_windows),
            set(tree.owned_slots),
            set(tree.open_locks),
            len(tree.ghosts),
        )

    def unchanged(self, act: Callable[[], object], error: type[Exception]) -> None:
        before = self.picture()
        with pytest.raises(error):
            act()
        assert self.picture() == before

    def near(self, path: Path, which: int) -> Path:
        """A path as drawn, one that leaves a cached path somewhere, or a cached one."""
        ends = sorted(self.model.ends)
        if which % 4 == 0 or not ends:
            return path
        base = ends[which // 4 % len(ends)]
        return base[: which % (len(base) + 1)] + path[:3] if which % 4 < 3 else base

    def give_back(self, freed: Freed, pages: Any, windows: Any, slots: Any, nodes: int) -> None:
        assert sorted(freed.pages) == sorted(pages)
        assert sorted(freed.window) == sorted(windows)
        assert sorted(freed.states) == sorted(slots)
        assert freed.nodes == nodes
        for pool, items in (
            (self.pages, freed.pages),
            (self.wide, freed.window),
            (self.slots, freed.states),
        ):
            for item in items:
                pool.give(item)

    # Steps

    @precondition(lambda self: len(self.model.ends) < 30)
    @rule(
        path=paths,
        which=picks,
        first=st.integers(0, 7),
        base=st.none() | st.integers(0, 7),
        with_state=st.booleans(),
    )
    def insert(
        self, path: Path, which: int, first: int, base: int | None, with_state: bool
    ) -> None:
        path = self.near(path, which)
        model, tree = self.model, self.tree
        length, hit = len(path), len(model.matched(path))
        first = min(first, hit)
        pages = [self.pages.take() for _ in range(length - first)] if tree.has_full else []
        part, wide = None, []
        start = length
        if base is not None and tree.windows is not None:
            start = min(first + base, length)
            wide = [self.wide.take() for _ in range(length - start)]
            part = WindowPart(start * self.size, Runs.of_pages(wide))
        slot = self.slots.take() if with_state and tree.has_states and path else None
        taken = slot is not None and path not in model.state
        done = tree.insert(
            self.key(path),
            Runs.of_pages(pages),
            owned_from=first * self.size,
            state=slot,
            window=part,
        )
        assert done.matched_len == hit * self.size
        assert done.state_taken == taken
        assert self.path_of(done.node) == path
        if not path:
            return
        duplicates, spare = model.insert(path, pages, first, slot if taken else None, start, wide)
        assert list(done.duplicates) == duplicates
        assert list(done.spare_window) == spare
        for page in done.duplicates:
            self.pages.give(page)
        for page in done.spare_window:
            self.wide.give(page)
        if slot is not None and not taken:
            self.slots.give(slot)

    @rule(
        path=paths,
        which=picks,
        tail=st.integers(0, 3),
        limit=st.none() | st.integers(-2, 40),
    )
    def match(self, path: Path, which: int, tail: int, limit: int | None) -> None:
        path = self.near(path, which)
        key = self.key(path, min(tail, self.size - 1))
        hit, best = self.model.matched(path), self.model.usable(path, limit)
        before = self.picture()
        answer = self.tree.peek(key, limit)
        assert self.picture() == before
        assert answer == self.tree.match(key, limit)
        assert answer.kv_len == len(hit) * self.size
        assert answer.usable_len == len(best) * self.size
        assert self.path_of(answer.deepest) == self.model.cover(hit)
        assert self.path_of(answer.node) == self.model.cover(best)
        if hit:
            self.model.now += 1
            for end in [e for e in self.model.above(self.model.cover(best)) if e]:
                if not self.model.window_locks(end) and end in self.model.window:
                    self.use_one(end, answer.usable_len)
        if self.tree.windows is not None and best:
            start = max(answer.usable_len - self.tree.windows.size, 0)
            start -= start % self.size
            got = list(self.tree.path_window(answer.node, start))
            want = [answer.node.end // self.size, start // self.size]
            end = self.model.cover(best)
            assert got == [self.model.window[end[:n]] for n in range(want[1] + 1, want[0] + 1)]

    def use_one(self, end: Path, depth: int) -> None:
        assert self.model.window_size is not None
        if self.model.depth(end) > depth - self.model.window_size:
            self.model.window_used[end] = self.model.now

    @rule(path=paths, which=picks, keeps_state=st.booleans(), usual=st.booleans())
    def lock(self, path: Path, which: int, keeps_state: bool, usual: bool) -> None:
        answer = self.tree.peek(self.key(self.near(path, which)))
        node, depth = answer.node, answer.usable_len
        if not usual:
            node = answer.deepest
            depth = node.start + which % (node.end - node.start + 1)
        end = self.path_of(node)
        for wrong in (node.end + 1, node.start - 1, -1):
            self.unchanged(partial(self.tree.lock, node, wrong), ArgumentError)
        verb = self.tree.lock if keeps_state else self.tree.lock_path
        held = Held(end, self.model.boundary(end, depth), keeps_state)
        receipt = (verb(node) if depth == node.end else verb(node, depth)).receipt
        self.open.append((receipt, held))
        if end:
            self.model.held.append(held)

    @precondition(lambda self: len(self.open) > 1)
    @rule(which=picks)
    def unlock(self, which: int) -> None:
        receipt, held = self.open.pop(which % len(self.open))
        forged = Lock(receipt.node, self.tree.root, keeps_state=True, boundary=0)
        self.unchanged(partial(self.tree.unlock, forged), LockError)
        self.tree.unlock(receipt)
        self.spent.append(receipt)
        if held.end:
            self.model.now += 1
            before = {end for end in self.model.ends if self.model.window_locks(end)}
            self.model.held.remove(held)
            for end in before:
                if not self.model.window_locks(end):
                    self.model.window_used[end] = self.model.now

    def pick(self, which: int, legal: list[Path]) -> tuple[Path, Node]:
        """One that may go, or (once in four) any, rightly or wrongly."""
        places = self.places()
        ends = legal if legal and which % 4 else sorted(places)
        end = ends[which // 4 % len(ends)]
        return end, places[end]

    @precondition(lambda self: self.model.ends)
    @rule(which=picks)
    def evict_kv(self, which: int) -> None:
        model = self.model
        legal = sorted(e for e in model.ends if model.leaf(e) and not model.kv_locks(e))
        victim = self.tree.kv_victim()
        assert (victim is None) == (not legal)
        assert victim is None or self.path_of(victim) in legal
        end, node = self.pick(which, legal)
        if end in legal:
            freed = self.tree.evict_kv(node)
            self.give_back(freed, *model.drop(end))
            self.dead.append(node)
        else:
            self.unchanged(partial(self.tree.evict_kv, node), ArgumentError)

    @precondition(lambda self: self.model.ends)
    @rule(which=picks)
    def evict_state(self, which: int) -> None:
        model = self.model
        legal = sorted(end for end in model.state if not model.state_locks(end))
        victim = self.tree.state_victim()
        assert (victim is None) == (not legal)
        assert victim is None or self.path_of(victim) in legal
        end, node = self.pick(which, legal)
        if end in legal:
            self.give_back(self.tree.evict_state(node), [], [], [model.state.pop(end)], 0)
        else:
            self.unchanged(partial(self.tree.evict_state, node), ArgumentError)

    @precondition(lambda self: self.model.ends)
    @rule(which=picks)
    def evict_window(self, which: int) -> None:
        model = self.model
        legal = sorted(e for e in model.ends if e in model.window and not model.window_locks(e))
        victim = self.tree.window_victim()
        assert (victim is None) == (not legal)
        assert victim is None or self.path_of(victim) in legal
        end, node = self.pick(which, legal)
        if end in legal:
            gone = [model.window.pop(prefix) for prefix in model.edge(end)]
            self.give_back(self.tree.evict_window(node), [], gone, [], 0)
        else:
            self.unchanged(partial(self.tree.evict_window, node), ArgumentError)

    @precondition(lambda self: self.spent or self.dead)
    @rule()
    def use_after_end(self) -> None:
        tree = self.tree
        for receipt in self.spent:
            self.unchanged(partial(tree.unlock, receipt), LockError)
        for node in (*self.dead, self.make().root):
            self.unchanged(partial(tree.lock, node), LockError)
            for verb in (tree.evict_kv, tree.evict_state, tree.evict_window, tree.page_hashes):
                self.unchanged(partial(verb, node), ArgumentError)
        self.spent.clear()
        self.dead.clear()

    @precondition(lambda self: self.model.ends)
    @rule(which=picks)
    def insert_refused(self, which: int) -> None:
        """Ids that the tree owns, parts that do not fit: refused, and nothing changed."""
        tree, model = self.tree, self.model
        ends = sorted(model.ends)
        path = (*ends[which % len(ends)], 2)
        far = 10**6
        pages = Runs([(far, len(path))]) if tree.has_full else NO_PAGES
        length = len(path) * self.size
        put = partial(tree.insert, self.key(path), owned_from=0, state=None)
        if model.page:
            owned = sorted(model.page.values())[which % len(model.page)]
            bad = Runs([(far, len(path) - 1), (owned, 1)])
            self.unchanged(partial(put, bad), ArgumentError)
        if model.window:
            owned = sorted(model.window.values())[which % len(model.window)]
            bad = Runs([(far, len(path) - 1), (owned, 1)])
            self.unchanged(partial(put, pages, window=WindowPart(0, bad)), ArgumentError)
        if model.state:
            owned = sorted(model.state.values())[which % len(model.state)]
            self.unchanged(partial(put, pages, state=owned), ArgumentError)
        wrong = [
            WindowPart(-self.size, Runs([(far, len(path) + 1)])),
            WindowPart(length + self.size, NO_PAGES),
            WindowPart(0, Runs([(far, len(path) + 1)])),
            WindowPart(self.size, Runs([(far, len(path))])),
        ]
        if self.size > 1:
            wrong.append(WindowPart(1, Runs([(far, len(path))])))
        for part in wrong:
            self.unchanged(partial(put, pages, window=part), ArgumentError)

    @precondition(lambda self: self.tree.num_nodes > 8)
    @rule()
    def reset(self) -> None:
        model, tree = self.model, self.tree
        if model.held:
            self.unchanged(tree.reset, LockError)
            return
        nodes = list(tree.walk())
        kept = (model.page.values(), model.window.values(), model.state.values())
        self.give_back(tree.reset(), *kept, len(nodes))
        now = model.now
        self.model = Model(self.size, model.has_full, model.window_size, model.has_states)
        self.model.now = now
        self.dead += nodes

    # After every step

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "tree"):
            return
        tree, model = self.tree, self.model
        tree.check(1)
        tree.check(2)
        places = self.places()
        assert set(places) == model.ends
        sizes = {"full": [0, 0], "window": [0, 0], "state": [0, 0]}
        for end, node in places.items():
            edge = model.edge(end)
            assert list(node.pages) == [model.page[p] for p in edge if tree.has_full]
            window = [model.window[p] for p in edge if p in model.window]
            assert (list(node.window) if node.window is not None else []) == window
            assert node.state == model.state.get(end)
            assert node.full_lock == model.kv_locks(end)
            assert node.state_lock == model.state_locks(end)
            assert node.window_lock == model.window_locks(end)
            sizes["full"][node.full_lock > 0] += len(edge) * self.size
            sizes["window"][node.window_lock > 0] += len(window) * self.size
            sizes["state"][node.state_lock > 0] += end in model.state
        assert [tree.full_evictable, tree.full_protected] == sizes["full"]
        assert [tree.window_evictable, tree.window_protected] == sizes["window"]
        assert [tree.state_evictable, tree.state_protected] == sizes["state"]
        assert self.pages.used == set(model.page.values())
        assert self.wide.used == set(model.window.values())
        assert self.slots.used == set(model.state.values())
        self.agree_on_order()

    def agree_on_order(self) -> None:
        windows: Windows | None = self.tree.windows
        if windows is not None:
            used = [self.model.window_used[self.path_of(n)] for n in windows.newest_first()]
            assert used == sorted(used, reverse=True)

    def teardown(self) -> None:
        if not hasattr(self, "tree"):
            return
        while self.open:
            self.unlock(0)
            self.agree()
        assert self.tree.full_protected == self.tree.window_protected == 0
        while self.model.ends:
            self.evict_kv(1)
            self.agree()
        assert not self.pages.used
        assert not self.wide.used
        assert not self.slots.used


def test_slice(must_pass: Callable[..., None]) -> None:
    must_pass(WindowMachine, runs=100, steps=40)


ROUNDS = int(os.environ.get("WINDOW_ROUNDS", "6"))
"""Rounds of 80,000 steps: half a million steps, unless told otherwise."""


@pytest.mark.stress
@pytest.mark.parametrize("number", range(ROUNDS))
def test_for_long(number: int, must_pass: Callable[..., None]) -> None:
    """The same with fresh seeds, in rounds so that Hypothesis's memory stays bounded."""
    must_pass(WindowMachine, runs=1000, steps=80, fresh=True)
