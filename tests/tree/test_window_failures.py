"""Failures that sliding windows and owners invite: one scenario each, and broken trees for it.

As in `test_failure_modes`: a scenario passes on the real tree and fails on every mutant
listed with it.  Page 4, windows of 8 tokens and no states, unless it says otherwise.
Window pages are numbered apart from full pages: those of a key inserted at `n` are `n + 500`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from scenarios import Scenario, Scenarios, TreeType, must_catch

from cachepawl.errors import ArgumentError, LockError, OwnershipError
from cachepawl.tree import Freed, InsertResult, Lock, Locked, Node, RadixTree, WindowPart
from cachepawl.tree.windows import Windows
from cachepawl.types import NO_PAGES, Key, Runs

SCENARIOS = Scenarios()
caught_on = SCENARIOS.caught_on


class MadeOf(RadixTree):
    """A tree with broken windows."""

    kind: type[Windows] = Windows

    def __init__(self, *args: Any, **kinds: Any) -> None:
        super().__init__(*args, **kinds)
        if self.windows is not None:
            self.windows = self.kind(self.windows.size, self.page_tokens)


def broken(kind: type[Windows]) -> type[RadixTree]:
    return type(kind.__name__, (MadeOf,), {"kind": kind})


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


def pages(first: int, stop: int) -> Runs:
    return Runs([(first, stop - first)])


def put(
    tree: RadixTree, what: Key, first: int, state: int | None = None, base: int = 0
) -> InsertResult:
    """Insert a whole key with fresh pages from `first` on, windows from depth `base` on."""
    count = len(what.tokens) // 32
    wide = pages(first + 500 + base // 4, first + 500 + count)
    result = tree.insert(
        what,
        pages(first, first + count) if tree.has_full else NO_PAGES,
        owned_from=0,
        state=state,
        window=WindowPart(base, wide),
    )
    tree.check(2)
    return result


def chain(tree: RadixTree, *ends: int) -> list[Node]:
    """Edges of one path that end at these depths, all with windows."""
    return [put(tree, key(*range(end)), 40 * i + 1).node for i, end in enumerate(ends)]


def picture(tree: RadixTree) -> object:
    windows = tree.windows
    return (
        tree.render(),
        tree.clock,
        [(n.window, n.window_lock, n.state_lock, n.full_lock) for n in tree.walk()],
        list(windows.newest_first()) if windows is not None else None,
        (len(tree.owned_pages), len(tree.owned_windows), set(tree.owned_slots)),
        set(tree.open_locks),
    )


def refused(
    tree: RadixTree, error: type[Exception], act: Callable[..., object], *args: Any, **named: Any
) -> None:
    before = picture(tree)
    with pytest.raises(error):
        act(*args, **named)
    assert picture(tree) == before
    tree.check(2)


# Locks


class UnlocksToTheRoot(Windows):
    def unlock(self, node: Node, boundary: int, stamp: int) -> None:
        super().unlock(node, 0, stamp)


class UnlocksBySize(Windows):
    def unlock(self, node: Node, boundary: int, stamp: int) -> None:
        super().unlock(node, max(node.end - self.size, 0), stamp)


class UnlocksOneNode(Windows):
    def unlock(self, node: Node, boundary: int, stamp: int) -> None:
        super().unlock(node, node.start, stamp)


class SplitForgetsWindowLock(Windows):
    def split(self, prefix: Node, node: Node, at: int, stamp: int) -> None:
        locks, node.window_lock = node.window_lock, 0
        super().split(prefix, node, at, stamp)
        node.window_lock = locks


class SplitForgetsWindowUse(Windows):
    def split(self, prefix: Node, node: Node, at: int, stamp: int) -> None:
        super().split(prefix, node, at, stamp)
        self._order.pop(prefix, None)


@caught_on(
    broken(UnlocksToTheRoot),
    broken(UnlocksBySize),
    broken(UnlocksOneNode),
    broken(SplitForgetsWindowLock),
)
def window_lock_ends_at_its_boundary_after_a_split(tree_type: TreeType) -> None:
    # One node too far takes another request's protection; one too few keeps it forever.
    tree = tree_type(4, window=8, has_states=False)
    first, second = chain(tree, 16, 32)
    receipt = tree.lock(second).receipt
    other = tree.lock(first).receipt
    put(tree, key(*range(20), 90, 91, 92, 93), 201)
    assert second.start == 20
    tree.check(2)
    assert (tree.window_protected, tree.window_evictable) == (32, 4)
    refused(tree, ArgumentError, tree.evict_window, second.parent)
    tree.unlock(receipt)
    tree.check(2)
    assert (tree.window_protected, tree.window_evictable) == (16, 20)
    refused(tree, ArgumentError, tree.evict_window, first)
    tree.unlock(other)
    tree.check(2)
    assert tree.window_protected == 0


@caught_on(broken(SplitForgetsWindowUse))
def split_window_may_still_go(tree_type: TreeType) -> None:
    # The half of an edge that is on no list is never evicted: its pages are lost.
    tree = tree_type(4, window=8, has_states=False)
    put(tree, key(*range(16)), 1)
    put(tree, key(*range(8), 90, 91, 92, 93), 41)
    freed = []
    while (victim := tree.window_victim()) is not None:
        freed += tree.evict_window(victim).window
    tree.check(2)
    assert sorted(freed) == [501, 502, 503, 504, 543]


class LocksAtTheEnd(RadixTree):
    def _lock(self, node: Node, depth: int | None, *, keeps_state: bool) -> Locked:
        return super()._lock(node, None, keeps_state=keeps_state)


class LocksOneWindow(Windows):
    def lock(self, node: Node, depth: int) -> int:
        return super().lock(node, node.start + self.size)


class LocksAllWindows(Windows):
    def lock(self, node: Node, depth: int) -> int:
        return super().lock(node, 0)


@caught_on(LocksAtTheEnd, broken(LocksOneWindow), broken(LocksAllWindows))
def lock_at_a_depth_inside_an_edge(tree_type: TreeType) -> None:
    # A request that starts inside an edge reads the window before there, not before the end.
    tree = tree_type(4, window=8, has_states=False)
    first, second, third = chain(tree, 8, 16, 32)
    found = tree.match(key(*range(20)))
    assert (found.node, found.usable_len) == (third, 20)
    receipt = tree.lock(found.node, found.usable_len).receipt
    refused(tree, ArgumentError, tree.evict_window, second)
    refused(tree, ArgumentError, tree.evict_window, third)
    assert tree.window_victim() is first
    assert tree.evict_window(first).window == pages(501, 503)
    tree.unlock(receipt)
    tree.check(2)
    assert tree.window_protected == 0


class EvictsLocked(RadixTree):
    def evict_window(self, node: Node, by: str = "") -> Freed:
        if self.windows is None or node.window is None or not node.window_lock:
            return super().evict_window(node, by)
        gone, node.window = node.window, None
        self.windows.protected -= gone.count * self.page_tokens
        self.owned_windows.release(gone)
        return Freed(NO_PAGES, (), 0, gone)


class VictimIgnoresLocks(RadixTree):
    def window_victim(self) -> Node | None:
        return next((node for node in self.walk() if node.window is not None), None)


@caught_on(EvictsLocked, VictimIgnoresLocks)
def window_of_a_locked_node(tree_type: TreeType) -> None:
    # Window pages that a running request reads must not be another's.
    tree = tree_type(4, window=8, has_states=False)
    (node,) = chain(tree, 8)
    receipts = [tree.lock(node).receipt, tree.lock_path(node).receipt]
    for receipt in receipts:
        assert tree.window_victim() is None
        refused(tree, ArgumentError, tree.evict_window, node)
        refused(tree, ArgumentError, tree.evict_kv, node)
        tree.unlock(receipt)
    assert tree.window_victim() is node
    assert tree.evict_window(node).window == pages(501, 503)
    refused(tree, ArgumentError, tree.evict_window, node)


class BelievesReceipts(RadixTree):
    def unlock(self, receipt: Lock) -> tuple[Runs, ...]:
        if receipt.owner is self.root:
            self.open_locks.add(receipt)
        return super().unlock(receipt)


class BelievesAny(RadixTree):
    def unlock(self, receipt: Lock) -> tuple[Runs, ...]:
        self.open_locks.add(receipt)
        return super().unlock(receipt)


@caught_on(BelievesReceipts, BelievesAny)
def forged_receipts(tree_type: TreeType) -> None:
    # A receipt that nobody gave takes away the protection of a request that has one.
    tree = tree_type(4, window=8, has_states=False)
    (node,) = chain(tree, 8)
    receipt = tree.lock(node).receipt
    for keeps_state in (True, False):
        forged = Lock(node, tree.root, keeps_state=keeps_state, boundary=0)
        refused(tree, LockError, tree.unlock, forged)
    twin = tree_type(4, window=8, has_states=False)
    refused(tree, LockError, tree.unlock, twin.lock(chain(twin, 8)[0]).receipt)
    refused(tree, LockError, tree.unlock, Lock(node, None, keeps_state=True, boundary=0))
    assert tree.window_victim() is None
    tree.unlock(receipt)
    refused(tree, LockError, tree.unlock, receipt)


# Tombstones


class FillForgetsTombstones(Windows):
    def fill(self, node: Node, part: WindowPart, split: Any, stamp: int) -> Any:
        if node.window_gone is not None:
            return [part.pages], []
        return super().fill(node, part, split, stamp)


class FillIgnoresLocks(Windows):
    def _put(self, node: Node, pages: Runs, stamp: int) -> None:
        locks, node.window_lock = node.window_lock, 0
        super()._put(node, pages, stamp)
        node.window_lock = locks


class FillKeepsSpare(Windows):
    def fill(self, node: Node, part: WindowPart, split: Any, stamp: int) -> Any:
        _, filled = super().fill(node, part, split, stamp)
        return [], filled


class FillReversesSpare(RadixTree):
    def _fill_windows(self, node: Node, part: WindowPart | None, stamp: int) -> Runs:
        spare = super()._fill_windows(node, part, stamp)
        return Runs.of_pages(sorted(spare, reverse=True))


@caught_on(
    broken(FillForgetsTombstones),
    broken(FillIgnoresLocks),
    broken(FillKeepsSpare),
    FillReversesSpare,
)
def tombstone_in_the_live_window_is_filled_again(tree_type: TreeType) -> None:
    # A hole that a later request computed again, and that stays a hole, is a miss forever.
    tree = tree_type(4, window=8, has_states=False)
    first, second, third = chain(tree, 4, 8, 16)
    for node in (second, third):
        tree.evict_window(node)
    assert tree.match(key(*range(16))).usable_len == 4
    receipt = tree.lock(third).receipt
    result = put(tree, key(*range(16)), 201)
    assert result.node is third
    assert result.spare_window == pages(701, 702)
    assert (second.window, third.window) == (pages(702, 703), pages(703, 705))
    assert (tree.window_protected, tree.window_evictable) == (8, 8)
    assert tree.match(key(*range(16))).usable_len == 16
    tree.unlock(receipt)
    tree.check(2)
    assert put(tree, key(*range(16)), 301).spare_window == pages(801, 805)
    assert first.window == pages(501, 502)


class FillStretches(Windows):
    def fill(self, node: Node, part: WindowPart, split: Any, stamp: int) -> Any:
        if node.window is None and node.start < part.start:
            self._put(node, part.pages, stamp)
            return [], [node]
        return super().fill(node, part, split, stamp)


class FillAtTheSplit(Windows):
    def fill(self, node: Node, part: WindowPart, split: Any, stamp: int) -> Any:
        def halves(below: Node, at: int) -> Node:
            prefix: Node = split(below, at)
            self._put(prefix, pages(0, (at - prefix.start) // self.page_tokens), stamp)
            return prefix

        return super().fill(node, part, halves, stamp)


@caught_on(broken(FillStretches), broken(FillAtTheSplit))
def part_that_starts_inside_an_edge(tree_type: TreeType) -> None:
    # Window pages under the wrong tokens serve the attention of others.
    tree = tree_type(4, window=8, has_states=False)
    leaf = put(tree, key(*range(16)), 1, base=8).node
    assert (leaf.start, leaf.window) == (8, pages(503, 505))
    assert leaf.parent is not None
    assert leaf.parent.window is None
    assert tree.match(key(*range(16))).usable_len == 16
    assert tree.match(key(*range(12))).usable_len == 0
    assert tree.path_window(leaf, 12) == pages(504, 505)
    refused(tree, ArgumentError, tree.path_window, leaf, 4)


class SeesThrough(Windows):
    def usable(self, node: Node, depth: int, has_states: bool) -> tuple[Node, int]:
        return node, depth


class CountsAcross(Windows):
    def usable(self, node: Node, depth: int, has_states: bool) -> tuple[Node, int]:
        best, at = super().usable(node, depth, has_states)
        return (node, depth) if node.window is not None and depth - at >= 8 else (best, at)


class WantsAll(Windows):
    def usable(self, node: Node, depth: int, has_states: bool) -> tuple[Node, int]:
        size, self.size = self.size, 10**9
        try:
            return super().usable(node, depth, has_states)
        finally:
            self.size = size


@caught_on(broken(SeesThrough), broken(CountsAcross), broken(WantsAll))
def match_through_a_window_tombstone(tree_type: TreeType) -> None:
    # A hole inside the window is no hit; a hole before it does not matter.
    tree = tree_type(4, window=12, has_states=False)
    first, second, third, fourth = chain(tree, 8, 16, 24, 32)
    tree.evict_window(second)
    assert tree.match(key(*range(24))).usable_len == 8
    found = tree.match(key(*range(32)))
    assert (found.usable_len, found.node, found.kv_len) == (32, fourth, 32)
    assert tree.match(key(*range(32)), 31).usable_len == 28
    assert tree.match(key(*range(32)), 27).usable_len == 8
    tree.evict_window(third)
    assert tree.match(key(*range(32))).usable_len == 8
    tree.evict_window(first)
    found = tree.match(key(*range(32)))
    assert (found.usable_len, found.node, found.kv_len) == (0, tree.root, 32)


class TakesAnyState(Windows):
    def usable(self, node: Node, depth: int, has_states: bool) -> tuple[Node, int]:
        return super().usable(node, depth, False)


@caught_on(broken(TakesAnyState))
def both_a_state_and_a_window(tree_type: TreeType) -> None:
    # With states, what the window allows ends at a state, and the other way round.
    tree = tree_type(4, window=8)
    put(tree, key(*range(8)), 1, state=1)
    middle = put(tree, key(*range(12)), 41).node
    put(tree, key(*range(24)), 81, state=2)
    assert tree.match(key(*range(24))).usable_len == 24
    assert tree.match(key(*range(24)), 23).usable_len == 8
    tree.evict_window(tree.match(key(*range(24))).node)
    assert tree.match(key(*range(24))).usable_len == 8
    tree.evict_window(middle)
    put(tree, key(*range(24)), 121, base=16)
    # The window before 24 is whole again; the state is still there.
    assert tree.match(key(*range(24))).usable_len == 24


class TakesFullToo(RadixTree):
    def evict_window(self, node: Node, by: str = "") -> Freed:
        freed = super().evict_window(node, by)
        gone, node.pages = node.pages, NO_PAGES
        return freed._replace(pages=gone)


class TakesTheNode(RadixTree):
    def evict_window(self, node: Node, by: str = "") -> Freed:
        freed = super().evict_window(node, by)
        return freed if node.children else self.evict_kv(node)._replace(window=freed.window)


class StaysWarm(RadixTree):
    def _chill(self, node: Node) -> None:
        pass


class KeepsOwning(RadixTree):
    def _drop_window(self, node: Node) -> Runs:
        gone = super()._drop_window(node)
        self.owned_windows.claim(gone)
        return gone


@caught_on(TakesFullToo, TakesTheNode, StaysWarm, KeepsOwning)
def window_eviction_leaves_full_kv(tree_type: TreeType) -> None:
    # The window is the cheap part; the full KV of a node is there for what hangs below.
    tree = tree_type(4, window=8, has_states=False)
    (cold,) = [put(tree, key(*range(70, 78)), 301).node]
    first, second = chain(tree, 8, 16)
    assert tree.evict_window(first) == Freed(NO_PAGES, (), 0, pages(501, 503))
    tree.check(2)
    assert tree.peek(key(*range(16))).kv_len == 16
    assert tree.path_pages(second) == Runs([(1, 2), (43, 2)])
    assert tree.match(key(*range(16))).usable_len == 16
    assert tree.kv_victim() is cold
    assert tree.evict_window(second).window == pages(543, 545)
    tree.check(2)
    assert tree.num_nodes == 3
    assert tree.kv_victim() is second
    # Its parent can be of no use either, then.
    assert tree.evict_kv(second).nodes == 2
    tree.check(2)
    # Pages that were freed may come back.
    assert put(tree, key(*range(16)), 1).spare_window == NO_PAGES


class LiftsAll(Windows):
    def lift(self, node: Node, depth: int, stamp: int) -> None:
        super().lift(node, 0, stamp)


class LiftsNone(Windows):
    def lift(self, node: Node, depth: int, stamp: int) -> None:
        pass


@caught_on(broken(LiftsAll), broken(LiftsNone))
def only_the_window_in_use_is_newest(tree_type: TreeType) -> None:
    # Refreshing windows long passed pushes out those that the next request needs.
    tree = tree_type(4, window=8, has_states=False)
    first, second = chain(tree, 8, 16)
    other = put(tree, key(*range(70, 78)), 301).node
    tree.match(key(*range(16)))
    order = []
    while (victim := tree.window_victim()) is not None:
        order.append(victim)
        tree.evict_window(victim)
    assert order == [first, other, second]


# Owners


class ClaimsNothing(RadixTree):
    def _claim(self, duplicates: Runs, fresh: Runs, window: WindowPart | None) -> None:
        pass


class ClaimsFreshOnly(RadixTree):
    def _claim(self, duplicates: Runs, fresh: Runs, window: WindowPart | None) -> None:
        super()._claim(Runs(), fresh, window)


class ClaimsHalf(RadixTree):
    def _claim(self, duplicates: Runs, fresh: Runs, window: WindowPart | None) -> None:
        super()._claim(duplicates, fresh, None)
        if window is not None:
            self.owned_windows.claim(window.pages)


class SlotsHaveNoOwner(RadixTree):
    def insert(self, *args: Any, **named: Any) -> InsertResult:
        kept, self.owned_slots = self.owned_slots, set()
        try:
            result = super().insert(*args, **named)
        finally:
            self.owned_slots |= kept
        return result


@caught_on(ClaimsNothing, ClaimsFreshOnly, ClaimsHalf, SlotsHaveNoOwner)
def what_is_owned_comes_in_once(tree_type: TreeType) -> None:
    # A page or a slot with two owners is freed twice, and written by two requests.
    tree = tree_type(4, window=8)
    put(tree, key(*range(16)), 1, state=7)
    longer = key(*range(24))

    def insert(
        full: list[int], wide: list[int], state: int, owned_from: int = 8, base: int = 8
    ) -> None:
        refused(
            tree,
            OwnershipError,
            tree.insert,
            longer,
            Runs.of_pages(full),
            owned_from=owned_from,
            state=state,
            window=WindowPart(base, Runs.of_pages(wide)),
        )

    insert([81, 82, 83, 1], [91, 92, 93, 94], 8)
    insert([81, 82, 83, 82], [91, 92, 93, 94], 8)
    insert([4, 82, 83, 84], [91, 92, 93, 94], 8)  # only as a duplicate
    insert([81, 82, 83, 84], [91, 92, 93, 504], 8)
    insert([81, 82, 83, 84], [91, 92, 92, 93], 8)
    insert([81, 82, 83, 84], [501, 92, 93, 94], 8)
    insert([81, 82, 83, 84], [91, 92, 93, 94], 7)
    result = tree.insert(
        longer,
        Runs.of_pages([81, 82, 83, 84]),
        owned_from=8,
        state=8,
        window=WindowPart(8, Runs.of_pages([91, 92, 93, 94])),
    )
    assert list(result.duplicates) == [81, 82]
    assert list(result.spare_window) == [91, 92]
    tree.check(2)


# Arguments


class Clamps(RadixTree):
    def lock(self, node: Node, depth: int | None = None) -> Locked:
        at = node.end if depth is None else min(max(depth, node.start), node.end)
        return super().lock(node, at)


class ClampsOwnedFrom(RadixTree):
    def insert(self, *args: Any, owned_from: int, **named: Any) -> InsertResult:
        return super().insert(*args, owned_from=max(owned_from, 0), **named)


class CutsParts(RadixTree):
    def insert(self, *args: Any, window: WindowPart | None = None, **named: Any) -> InsertResult:
        if window is not None:
            length = len(args[0].tokens) // self.token_bytes
            fits = window.pages.count * self.page_tokens == length - window.start
            window = window if fits and self.windows is not None else None
        return super().insert(*args, window=window, **named)


@caught_on(Clamps, ClampsOwnedFrom, CutsParts)
def negative_and_oversize_arguments(tree_type: TreeType) -> None:
    # A clamped argument hides a caller that has lost count, until pages are lost too.
    for sizes in (
        {"page_tokens": 0},
        {"page_tokens": -4},
        {"window": 0},
        {"window": -8},
        {"max_tokens": 0},
        {"token_bytes": -8},
        {"ghost_tokens": -1},
        {"has_full": False, "has_states": False},
    ):
        with pytest.raises(ArgumentError):
            tree_type(**{"page_tokens": 4, **sizes})
    tree = tree_type(4, window=8, max_tokens=32)
    put(tree, key(*range(8)), 40, state=1)
    second = put(tree, key(*range(16)), 80, state=2).node
    for verb in (tree.lock, tree.lock_path):
        for depth in (-1, 7, 17, 10**9):
            refused(tree, ArgumentError, verb, second, depth)
        refused(tree, ArgumentError, verb, tree.root, 1)
    whole = key(*range(24))
    ok: dict[str, Any] = {"pages": pages(201, 207), "owned_from": 0, "state": None}
    for wrong in (
        {"owned_from": -4, "pages": pages(201, 208)},
        {"owned_from": -4},
        {"owned_from": 28, "pages": NO_PAGES},
        {"owned_from": 2},
        {"pages": pages(201, 206)},
        {"pages": pages(201, 208)},
        {"pages": pages(-3, 3)},
        {"state": -1},
        {"window": WindowPart(-4, pages(301, 308))},
        {"window": WindowPart(28, NO_PAGES)},
        {"window": WindowPart(2, pages(301, 307))},
        {"window": WindowPart(8, pages(301, 306))},
        {"window": WindowPart(8, pages(301, 304))},
        {"window": WindowPart(0, pages(-3, 3))},
        {"window": WindowPart(4, pages(301, 306)), "owned_from": 8, "pages": pages(201, 205)},
    ):
        refused(tree, ArgumentError, tree.insert, whole, **{**ok, **wrong})
    refused(tree, ArgumentError, tree.insert, key(*range(36)), **{**ok, "pages": pages(201, 210)})
    refused(tree, ArgumentError, tree.match, key(*range(33)))
    refused(tree, ArgumentError, tree.insert, key(*range(6)), **{**ok, "pages": pages(201, 202)})
    assert tree.match(whole, -5).usable_len == 0
    plain = tree_type(4)
    refused(plain, ArgumentError, plain.insert, whole, **ok, window=WindowPart(0, pages(301, 307)))
    node = plain.insert(whole, **ok).node
    refused(plain, ArgumentError, plain.lock, node, 25)
    refused(plain, ArgumentError, plain.evict_window, node)
    assert plain.window_victim() is None


@SCENARIOS.each()
def test_real_tree(scenario: Scenario) -> None:
    scenario(RadixTree)


@SCENARIOS.each_mutant()
def test_mutant_is_caught(scenario: Scenario, mutant: TreeType) -> None:
    must_catch(scenario, mutant)
