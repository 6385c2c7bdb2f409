"""A tree of ours that is broken in one place: the comparison with SGLang must notice.

Mutants of structure must fail in lockstep, mutants of order against the rules.
"""

from __future__ import annotations

from typing import Any

import pytest
from lockstep import Cell, Lockstep
from order import Foretold
from rules import OURS
from subjects import OurSubject
from walk import walk

from benchmarks.sglang_tree import sglang_context
from cachepawl.tree import Freed, InsertResult, Locked, Match, Node, RadixTree
from cachepawl.types import Key, Runs


class SplitMovesState(RadixTree):
    """The prefix gets a state that is wrong there."""

    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        if node.state is not None and not node.state_lock:
            prefix.state, node.state = node.state, None
            self.state_list.remove(node)
            self.state_list.put(prefix, self.clock)
        return prefix


class SplitReturnsSuffix(RadixTree):
    """A fork hangs under the wrong edge."""

    def _split(self, node: Node, at: int) -> Node:
        super()._split(node, at)
        return node


class SplitForgetsLock(RadixTree):
    """The prefix of a locked edge may go."""

    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        if prefix.full_lock:
            prefix.full_lock = 0
            self.kv_list.put_warm(prefix, self.clock)
        return prefix


class NamespaceIgnored(RadixTree):
    """One tenant's cache is another's."""

    def _walk(self, key: Key, limit: int | None) -> tuple[Node, int, Node]:
        return super()._walk(Key(key.tokens), limit)


class KvIsAHit(RadixTree):
    """A hit without a state."""

    def _answer(self, deepest: Node, matched: int, used: Node, limit: int | None) -> Match:
        match = super()._answer(deepest, matched, used, limit)
        if self.has_states and limit is None and deepest.end * 8 == matched:
            return match._replace(usable_len=match.kv_len, node=deepest)
        return match


class DuplicatesAreTheTrees(RadixTree):
    """Of two copies the one in use is freed."""

    def insert(
        self, key: Key, pages: Runs, *, owned_from: int, state: int | None, **more: Any
    ) -> InsertResult:
        done = super().insert(key, pages, owned_from=owned_from, state=state, **more)
        held = self.path_pages(done.node)
        stop = done.matched_len // self.page_tokens
        return done._replace(duplicates=held.slice(owned_from // self.page_tokens, stop))


class StateReplaced(RadixTree):
    """A second state throws the first away."""

    def insert(
        self, key: Key, pages: Runs, *, owned_from: int, state: int | None, **more: Any
    ) -> InsertResult:
        done = super().insert(key, pages, owned_from=owned_from, state=state, **more)
        if state is not None and not done.state_taken:
            done.node.state = state
        return done


class LocksTombstonesNot(RadixTree):
    """A state that appears under a lock is not kept."""

    def lock(self, node: Node, *more: Any) -> Locked:
        if node.state is None and node is not self.root:
            return self.lock_path(node, *more)
        return super().lock(node, *more)


class EvictionKeepsState(RadixTree):
    """A slot leaks with its leaf."""

    def evict_kv(self, node: Node) -> Freed:
        return super().evict_kv(node)._replace(states=())


class WindowNotAsked(RadixTree):
    """A hit across a hole in the window."""

    def _answer(self, deepest: Node, matched: int, used: Node, limit: int | None) -> Match:
        windows, self.windows = self.windows, None
        found = super()._answer(deepest, matched, used, limit)
        self.windows = windows
        return found


class WindowOneShort(RadixTree):
    """A window of one token less is enough."""

    def __init__(self, page: int, *, window: int, **more: Any) -> None:
        super().__init__(page, window=window - 1, **more)


class LocksOneWindowNode(RadixTree):
    """Only the last edge of a locked window is kept."""

    def lock(self, node: Node, *more: Any) -> Locked:
        if self.windows is None or node is self.root:
            return super().lock(node, *more)
        size, self.windows.size = self.windows.size, 1
        locked = super().lock(node, *more)
        self.windows.size = size
        return locked


WINDOWS = (WindowNotAsked, WindowOneShort, LocksOneWindowNode)

STRUCTURE = (
    SplitMovesState,
    SplitReturnsSuffix,
    SplitForgetsLock,
    NamespaceIgnored,
    KvIsAHit,
    DuplicatesAreTheTrees,
    StateReplaced,
    LocksTombstonesNot,
    EvictionKeepsState,
)


class MatchUsesAllStates(RadixTree):
    """A conversation that goes on keeps all of its states, and cold ones lose theirs."""

    def match(self, key: Key, limit: int | None = None) -> Match:
        match = super().match(key, limit)
        node = match.node
        while node.parent is not None:
            node = node.parent
            if node.state is not None and not node.state_lock:
                self.state_list.lift(node, self._clock)
        return match


class MatchUsesNoState(RadixTree):
    """The state that serves everybody is the oldest."""

    def match(self, key: Key, limit: int | None = None) -> Match:
        self.touch(key)
        return self.peek(key, limit)


class InsertUsesNoState(RadixTree):
    """A state that is found at an insert stays old."""

    def insert(
        self, key: Key, pages: Runs, *, owned_from: int, state: int | None, **more: Any
    ) -> InsertResult:
        node = self.peek(key).node
        older = node.state_older if node.state is not None and not node.state_lock else None
        done = super().insert(key, pages, owned_from=owned_from, state=state, **more)
        if older is not None and older is not node and done.node is node:
            self.state_list.remove(node)
            node.state_older, node.state_newer = older, older.state_newer
            older.state_newer.state_older = node
            older.state_newer = node
        return done


class ColdLeavesLast(RadixTree):
    """What nothing can use goes like the rest."""

    def kv_victim(self) -> Node | None:
        warm = [n for n in self.kv_list if n.kv_stamp and not n.children]
        return warm[-1] if warm else super().kv_victim()


ORDER = (MatchUsesAllStates, MatchUsesNoState, InsertUsesNoState, ColdLeavesLast)


class Unchecked(Lockstep):
    """What SGLang shows is to be enough, without our tree's own checks."""

    def check(self) -> None:
        self.theirs.check()


class ForetoldUnchecked(Foretold):
    def check(self) -> None:
        """See above."""


@pytest.mark.parametrize("mutant", [RadixTree, *STRUCTURE])
def test_lockstep_notices(mutant: type[RadixTree]) -> None:
    with sglang_context(4):
        both = Unchecked(Cell("python", 4, has_states=True), mutant)
        if mutant is RadixTree:
            walk(both, seed=3, steps=8000)
            return
        with pytest.raises(AssertionError):
            walk(both, seed=3, steps=8000)


@pytest.mark.parametrize("mutant", WINDOWS)
def test_lockstep_notices_windows(mutant: type[RadixTree]) -> None:
    cell = Cell("python", 4, True, split_alike=True, window=9, windowed=True)
    with sglang_context(4):
        walk(Unchecked(cell), seed=3, steps=300)
        with pytest.raises(AssertionError):
            walk(Unchecked(cell, mutant), seed=3, steps=1500)


@pytest.mark.parametrize("mutant", [RadixTree, *ORDER])
def test_the_rules_notice(mutant: type[RadixTree]) -> None:
    subject = OurSubject(4, has_states=True, tree_type=mutant)
    if mutant is RadixTree:
        walk(ForetoldUnchecked(subject, OURS), seed=3, steps=3000)
        return
    with pytest.raises(AssertionError):
        walk(ForetoldUnchecked(subject, OURS), seed=3, steps=3000)
