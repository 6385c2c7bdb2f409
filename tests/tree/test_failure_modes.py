"""Failures that prefix caches have had, one scenario each, and a broken tree for each.

A scenario must pass on the real tree and fail on every mutant listed with it, so
that no scenario is there for show.  Tokens are small numbers; page 4 unless it says
otherwise; `pages(a, b)` are the page ids a..b-1.
"""

from __future__ import annotations

from array import array

import pytest
from scenarios import Scenario, Scenarios, TreeType, must_catch

from cachepawl.errors import LockError
from cachepawl.policy.base import evict
from cachepawl.policy.lru import LRU
from cachepawl.tree import Freed, InsertResult, Lock, Locked, Match, Node, RadixTree
from cachepawl.tree.hashes import chain
from cachepawl.types import NO_PAGES, Key, Runs

SCENARIOS = Scenarios()
caught_on = SCENARIOS.caught_on


def key(*tokens: int, namespace: bytes = b"") -> Key:
    return Key(array("q", tokens).tobytes(), namespace)


def pages(first: int, stop: int) -> Runs:
    return Runs([(first, stop - first)])


def put(tree: RadixTree, what: Key, first_page: int, state: int | None = None) -> InsertResult:
    """Insert a whole key with fresh pages from `first_page` on."""
    count = len(what.tokens) // 8 // tree.page_tokens
    result = tree.insert(what, pages(first_page, first_page + count), owned_from=0, state=state)
    tree.check(2)
    return result


A = key(*range(8))
AB = key(*range(16))
AC = key(*range(8), *range(100, 108))
D = key(*range(200, 208))


# Locks


class LockSkipsTombstones(RadixTree):
    def lock(self, node: Node) -> Locked:
        locked = super().lock(node)
        if node.state is None and node is not self.root:
            node.state_lock -= 1
        return locked


@caught_on(LockSkipsTombstones)
def lock_tombstone_then_state_appears(tree_type: TreeType) -> None:
    # A state lock that is counted only where a state is unbalances when one comes later.
    tree = tree_type(4)
    node = put(tree, A, 1).node
    receipt = tree.lock(node).receipt
    assert put(tree, A, 11, state=7).state_taken
    assert (tree.state_evictable, tree.state_protected) == (0, 1)
    tree.unlock(receipt)
    tree.check(2)
    assert (tree.state_evictable, tree.state_protected) == (1, 0)


class SplitForgetsLock(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        if prefix.full_lock:
            prefix.full_lock = 0
            self.kv_list.put_warm(prefix, self.clock)
        return prefix


class SplitCopiesReceipts(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        prefix.state_lock = node.state_lock
        prefix.full_lock += node.state_lock
        return prefix


class SplitLosesReceipts(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        prefix.state_lock, node.state_lock = node.state_lock, 0
        return prefix


@caught_on(SplitForgetsLock, SplitCopiesReceipts, SplitLosesReceipts)
def split_of_a_locked_edge(tree_type: TreeType) -> None:
    # A lock copied on a split is never released; one that is not copied frees a page in use.
    tree = tree_type(4)
    node = put(tree, AB, 1, state=7).node
    locked = tree.lock(node)
    assert locked.pinned == (pages(1, 5),)
    put(tree, AC, 11, state=8)
    tree.check(2)
    assert tree.full_protected == 16
    released = tree.unlock(locked.receipt)
    tree.check(2)
    assert Runs.concat(reversed(released)) == pages(1, 5)
    assert tree.full_protected == tree.state_protected == 0


class ReceiptsReplay(RadixTree):
    def unlock(self, receipt: Lock) -> tuple[Runs, ...]:
        released = super().unlock(receipt)
        receipt.owner = self.root
        self.open_locks.add(receipt)
        return released


@caught_on(ReceiptsReplay)
def receipt_used_twice(tree_type: TreeType) -> None:
    # A departed request's second release takes away the protection of another request.
    tree = tree_type(4)
    node = put(tree, A, 1, state=7).node
    first, second = tree.lock(node).receipt, tree.lock(node).receipt
    tree.unlock(first)
    with pytest.raises(LockError):
        tree.unlock(first)
    assert tree.kv_victim() is None
    with pytest.raises(LockError):
        tree_type(4).unlock(second)
    tree.unlock(second)


class LocksOneNode(RadixTree):
    def lock(self, node: Node) -> Locked:
        locked = super().lock(node)
        if node.parent is not None and node.parent.full_lock:
            node.parent.full_lock -= 1
        return locked


@caught_on(LocksOneNode)
def lock_holds_the_whole_path(tree_type: TreeType) -> None:
    # KV of an ancestor evicted under a running request; a request evicting its own prefix.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    node = put(tree, AB, 31, state=8).node
    tree.lock(node)
    tree.check(2)
    assert tree.kv_victim() is None
    victim = LRU.victim(tree)
    assert victim is not None
    assert victim.kind == "state"
    assert victim.node is node.parent


class LocksEvicted(RadixTree):
    def lock(self, node: Node) -> Locked:
        if node.parent is None and node is not self.root:
            return Locked(Lock(node, self.root, keeps_state=True, boundary=0), ())
        return super().lock(node)


@caught_on(LocksEvicted)
def lock_after_eviction(tree_type: TreeType) -> None:
    # A match kept across an eviction must not lock what is gone: its pages are another's.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    match = tree.match(A)
    tree.evict_kv(match.node)
    with pytest.raises(LockError):
        tree.lock(match.node)
    tree.check(2)


class StateVictimIgnoresLocks(RadixTree):
    def state_victim(self) -> Node | None:
        return next((node for node in self.walk() if node.state is not None), None)


@caught_on(StateVictimIgnoresLocks)
def all_states_locked(tree_type: TreeType) -> None:
    # A checkpoint wanted while every state is locked: nothing to evict is an answer, no crash.
    tree = tree_type(4)
    tree.lock(put(tree, A, 1, state=7).node)
    assert tree.state_victim() is None
    assert tree.kv_victim() is None
    assert LRU.victim(tree) is None


# Splits


class SplitMovesState(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        if node.state is not None:
            prefix.state, node.state = node.state, None
            self.state_list.remove(node)
            self.state_list.put(prefix, self.clock)
        return prefix


@caught_on(SplitMovesState)
def split_of_a_checkpointed_edge(tree_type: TreeType) -> None:
    # A state moved to the prefix is wrong there, and turns a fresh hit into none forever.
    tree = tree_type(4)
    put(tree, AB, 1, state=7)
    put(tree, AC, 11, state=8)
    assert tree.match(AB).usable_len == 16
    assert tree.match(A).usable_len == 0
    assert tree.match(A).kv_len == 8


class SplitKeepsHook(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        prefix = super()._split(node, at)
        node.hook = prefix.hook
        prefix.children = {node.hook: node}
        return prefix


@caught_on(SplitKeepsHook)
def child_key_after_a_split(tree_type: TreeType) -> None:
    # The suffix must hang under its own first page, or it is never found again.
    tree = tree_type(4)
    put(tree, AB, 1, state=7)
    put(tree, AC, 11, state=8)
    assert tree.peek(AB).kv_len == 16


class SplitReturnsSuffix(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        super()._split(node, at)
        return node


@caught_on(SplitReturnsSuffix)
def fork_under_the_right_parent(tree_type: TreeType) -> None:
    # A divergent suffix under the wrong child would serve the KV of other tokens.
    tree = tree_type(4)
    put(tree, AB, 1, state=7)
    fork = put(tree, AC, 11, state=8)
    assert fork.node.start == 8
    assert tree.path_pages(fork.node) == Runs([(1, 2), (13, 2)])
    assert fork.duplicates == pages(11, 13)


class SplitKeepsPages(RadixTree):
    def _split(self, node: Node, at: int) -> Node:
        whole = node.pages
        prefix = super()._split(node, at)
        node.pages = whole
        return prefix


@caught_on(SplitKeepsPages)
def one_owner_after_a_split(tree_type: TreeType) -> None:
    # Both halves owning the same page frees it twice.
    tree = tree_type(4)
    put(tree, AB, 1, state=7)
    put(tree, AC, 11, state=8)
    out: list[int] = []
    while (victim := LRU.victim(tree)) is not None:
        out += evict(tree, victim).pages
    assert sorted(out) == [1, 2, 3, 4, 13, 14]


# Lengths and keys


class EmptyKeyMakesNode(RadixTree):
    def insert(self, key: Key, pages: Runs, *, owned_from: int, state: int | None) -> InsertResult:
        if not key.tokens:
            ghost = Node(b"", b"", self.root, 0, NO_PAGES, 0)
            self.root.children[b""] = ghost
            self.kv_list.put_cold(ghost)
            self.num_nodes += 1
            return InsertResult(ghost, 0, NO_PAGES, False)
        return super().insert(key, pages, owned_from=owned_from, state=state)


@caught_on(EmptyKeyMakesNode)
def empty_insert(tree_type: TreeType) -> None:
    # A prompt shorter than a page must leave no ghost node without tokens.
    tree = tree_type(4)
    result = put(tree, key(), 1)
    assert result == InsertResult(tree.root, 0, NO_PAGES, False)
    assert tree.num_nodes == 0
    with pytest.raises(ValueError, match="empty key"):
        tree.insert(key(), NO_PAGES, owned_from=0, state=3)


class MatchRoundsUp(RadixTree):
    def _answer(self, deepest: Node, matched: int, used: Node, limit: int | None) -> Match:
        return super()._answer(deepest, deepest.end * self.token_bytes, used, limit)


class InsertRoundsDown(RadixTree):
    def insert(self, key: Key, pages: Runs, *, owned_from: int, state: int | None) -> InsertResult:
        size = len(key.tokens) // self._page_bytes * self._page_bytes
        whole = Key(key.tokens[:size], key.namespace)
        return super().insert(whole, pages, owned_from=owned_from, state=state)


@caught_on(MatchRoundsUp, InsertRoundsDown)
def unaligned_lengths(tree_type: TreeType) -> None:
    # An unaligned key must never be told of more prefix than it has, or lose its tail silently.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    assert tree.match(key(0, 1, 2, 3, 4, 5)).kv_len == 4
    assert tree.match(key(0, 1, 2)).kv_len == 0
    with pytest.raises(ValueError, match="multiples of 4"):
        tree.insert(key(0, 1, 2, 3, 4, 5), pages(11, 12), owned_from=0, state=None)
    tree.check(2)


class ShortKeysReachRoot(RadixTree):
    def _walk(self, key: Key, limit: int | None) -> tuple[Node, int, Node]:
        tokens, namespace = key
        child = self.root.children.get(namespace + tokens[: self._page_bytes])
        if child is not None and len(tokens) < self._page_bytes:
            return child, self._page_bytes, self.root
        return super()._walk(key, limit)


class NamespaceIgnored(RadixTree):
    def _walk(self, key: Key, limit: int | None) -> tuple[Node, int, Node]:
        return super()._walk(Key(key.tokens), limit)


@caught_on(ShortKeysReachRoot, NamespaceIgnored)
def namespaces_never_mix(tree_type: TreeType) -> None:
    # A namespace left out, or glued to the tokens, gives one tenant another one's cache.
    tree = tree_type(4)
    glued = key(0, 1).tokens
    put(tree, A, 1, state=7)
    assert tree.match(Key(A.tokens, b"tenant")).kv_len == 0
    assert tree.match(Key(key(2, 3).tokens, glued)).kv_len == 0
    assert tree.match(Key(key(2, 3, 4, 5, 6, 7).tokens, glued)).kv_len == 0
    put(tree, Key(A.tokens, b"tenant"), 11, state=8)
    assert tree.path_pages(tree.match(A).node) == pages(1, 3)


class LimitCapsLengthOnly(RadixTree):
    def match(self, key: Key, limit: int | None = None) -> Match:
        match = super().match(key)
        capped = match.usable_len if limit is None else min(match.usable_len, limit)
        return match._replace(usable_len=capped)


@caught_on(LimitCapsLengthOnly)
def limit_moves_the_state_too(tree_type: TreeType) -> None:
    # A prefix capped to n - 1 tokens with the state of depth n restored computes nonsense.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    put(tree, AB, 31, state=8)
    match = tree.match(AB, 15)
    assert (match.usable_len, match.node.end, match.node.state) == (8, 8, 7)
    assert tree.match(A, 7).usable_len == 0


class DuplicatesAreTheTrees(RadixTree):
    def insert(self, key: Key, pages: Runs, *, owned_from: int, state: int | None) -> InsertResult:
        result = super().insert(key, pages, owned_from=owned_from, state=state)
        held = self.path_pages(result.node)
        stop = result.matched_len // self.page_tokens
        return result._replace(duplicates=held.slice(owned_from // self.page_tokens, stop))


@caught_on(DuplicatesAreTheTrees)
def duplicates_are_the_callers(tree_type: TreeType) -> None:
    # Of two copies the caller's is freed: the tree's may be read by others right now.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    result = put(tree, AB, 11, state=8)
    assert result.duplicates == pages(11, 13)
    assert tree.path_pages(result.node) == Runs([(1, 2), (13, 2)])


class InsertBelievesOwnedFrom(RadixTree):
    def insert(self, key: Key, pages: Runs, *, owned_from: int, state: int | None) -> InsertResult:
        have = self.peek(key).kv_len
        if have < owned_from:
            missing = Runs([(1, (owned_from - have) // self.page_tokens)])
            return super().insert(key, missing + pages, owned_from=have, state=state)
        return super().insert(key, pages, owned_from=owned_from, state=state)


@caught_on(InsertBelievesOwnedFrom)
def prefix_evicted_before_insert(tree_type: TreeType) -> None:
    # A caller whose prefix was evicted meanwhile must hear of it, or the KV has a gap.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    tree.evict_kv(tree.match(A).node)
    with pytest.raises(ValueError, match="holds 0 tokens"):
        tree.insert(AB, pages(11, 13), owned_from=8, state=8)
    assert tree.num_nodes == 0


# Hashes


class HashesOmitTheNamespace(RadixTree):
    def page_hashes(self, node: Node) -> bytes:
        return chain(b"", b"".join(edges_above(node)), self._page_bytes)[-32 * node.pages.count :]


class HashesDependOnWhoAsksFirst(RadixTree):
    def page_hashes(self, node: Node) -> bytes:
        parent = node.parent
        assert parent is not None
        if node.hashes is None:
            node.hashes = chain((parent.hashes or b"")[-32:], node.key, self._page_bytes)
        return node.hashes


def edges_above(node: Node) -> list[bytes]:
    edges = []
    while node.parent is not None:
        edges.append(node.key)
        node = node.parent
    return edges[::-1]


@caught_on(HashesOmitTheNamespace, HashesDependOnWhoAsksFirst)
def a_hash_names_one_prefix(tree_type: TreeType) -> None:
    # One block under two hashes is not found again; two blocks under one hash are mixed up.
    asked = {}
    for order in (1, -1):
        tree = tree_type(4)
        nodes = [put(tree, A, 1, state=7).node, put(tree, AB, 11, state=8).node]
        asked[order] = [tree.page_hashes(node) for node in nodes[::order]][::order]
    assert asked[1] == asked[-1]
    other = put(tree, Key(A.tokens, b"tenant"), 21, state=9).node
    assert tree.page_hashes(other) != asked[1][0]


@caught_on()
def callers_buffers_are_not_kept(tree_type: TreeType) -> None:
    # A caller that reuses its buffers must not rewrite what is cached.  No tree can be broken
    # in this way: keys are bytes and runs are tuples, which nobody can write to.
    tree = tree_type(4)
    tokens = array("q", range(8))
    ids = [1, 2]
    tree.insert(Key(tokens.tobytes()), Runs.of_pages(ids), owned_from=0, state=7)
    tokens[0] = ids[0] = 99
    assert tree.match(A).usable_len == 8
    assert tree.path_pages(tree.match(A).node) == pages(1, 3)


# Eviction and order


class EvictedStaysListed(RadixTree):
    def evict_kv(self, node: Node, by: str = "") -> Freed:
        newer, older = node.kv_newer, node.kv_older
        freed = super().evict_kv(node, by)
        newer.kv_older = older.kv_newer = node
        node.kv_newer, node.kv_older = newer, older
        return freed


class EvictedStateStaysListed(RadixTree):
    def _drop_state(self, node: Node) -> int:
        newer, older = node.state_newer, node.state_older
        slot = super()._drop_state(node)
        newer.state_older = older.state_newer = node
        node.state_newer, node.state_older = newer, older
        return slot


@caught_on(EvictedStaysListed, EvictedStateStaysListed)
def evicted_node_left_on_a_list(tree_type: TreeType) -> None:
    # A pruned node that stays on a list is evicted again: its pages are another's by then.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    put(tree, D, 11, state=8)
    leaf = tree.kv_victim()
    assert leaf is not None
    tree.evict_kv(leaf)
    tree.check(1)
    tree.check(2)
    assert tree.kv_victim() is not leaf
    assert tree.state_victim() is not leaf


class EvictionCountsTwice(RadixTree):
    def evict_kv(self, node: Node, by: str = "") -> Freed:
        freed = super().evict_kv(node, by)
        self.full_evictable -= freed.pages.count * self.page_tokens
        return freed


@caught_on(EvictionCountsTwice, SplitForgetsLock)
def sizes_do_not_drift(tree_type: TreeType) -> None:
    # An evictable size that drifts admits requests that can never be served.
    tree = tree_type(4)
    receipt = tree.lock(put(tree, AB, 1, state=7).node).receipt
    put(tree, AC, 11, state=8)
    tree.unlock(receipt)
    while (victim := LRU.victim(tree)) is not None:
        evict(tree, victim)
        tree.check(1)
    sizes = (tree.full_evictable, tree.full_protected, tree.state_evictable, tree.state_protected)
    assert sizes == (0, 0, 0, 0)


class CascadeIgnoresLocks(RadixTree):
    def evict_kv(self, node: Node, by: str = "") -> Freed:
        parent = node.parent
        freed = super().evict_kv(node, by)
        if parent is not None and parent.full_lock and not parent.children:
            above = parent.parent
            assert above is not None
            del above.children[parent.hook]
        return freed


class CascadeIgnoresStates(RadixTree):
    def evict_kv(self, node: Node, by: str = "") -> Freed:
        parent = node.parent
        freed = super().evict_kv(node, by)
        if parent is not None and parent.parent is not None and not parent.full_lock:
            more = super().evict_kv(parent)
            return Freed(freed.pages + more.pages, freed.states + more.states, 2)
        return freed


@caught_on(CascadeIgnoresLocks, CascadeIgnoresStates)
def cascade_stops_at_what_is_used(tree_type: TreeType) -> None:
    # A cascade that runs on deletes KV that a request reads, or a state that is a hit.
    tree = tree_type(4)
    stem = put(tree, A, 1).node
    receipt = tree.lock(stem).receipt
    leaf = put(tree, AB, 31, state=8).node
    assert tree.evict_kv(leaf).nodes == 1
    tree.check(2)
    assert tree.match(A).kv_len == 8
    put(tree, A, 21, state=7)
    tree.unlock(receipt)
    leaf = put(tree, AB, 31, state=9).node
    assert tree.evict_kv(leaf) == Freed(pages(33, 35), (9,), 1)
    assert tree.match(A).usable_len == 8


class MatchRefreshesAllStates(RadixTree):
    def match(self, key: Key, limit: int | None = None) -> Match:
        match = super().match(key, limit)
        node = match.node.parent
        while node is not None:
            if node.state is not None and not node.state_lock:
                self.state_list.lift(node, self.clock)
            node = node.parent
        return match


@caught_on(MatchRefreshesAllStates)
def match_refreshes_the_used_state_alone(tree_type: TreeType) -> None:
    # Refreshing every state of a conversation evicts the cold conversations wholesale.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    put(tree, AB, 31, state=8)
    put(tree, D, 11, state=9)
    tree.match(AB)
    order: list[int] = []
    while (node := tree.state_victim()) is not None:
        order += tree.evict_state(node).states
    assert order == [7, 9, 8]


class ChildrenAreNewer(RadixTree):
    def match(self, key: Key, limit: int | None = None) -> Match:
        match = super().match(key, limit)
        path = []
        node = match.deepest
        while node.parent is not None:
            path.append(node)
            node = node.parent
        for node in reversed(path):
            self.kv_list.remove(node)
            self.kv_list.put_warm(node, self.clock)
        return match


@caught_on(ChildrenAreNewer)
def the_oldest_is_a_leaf(tree_type: TreeType) -> None:
    # A path refreshed from the wrong end puts an inner node at the tail.
    tree = tree_type(4)
    put(tree, A, 1, state=7)
    put(tree, AB, 31, state=8)
    tree.match(AB)
    tree.check(1)
    leaf = tree.kv_victim()
    assert leaf is not None
    assert leaf.end == 16


class NothingIsCold(RadixTree):
    def evict_state(self, node: Node, by: str = "") -> Freed:
        freed = super().evict_state(node, by)
        if not node.children:
            self.kv_list.remove(node)
            self.kv_list.put_warm(node, self.clock)
        return freed


@caught_on(NothingIsCold)
def useless_leaves_go_first(tree_type: TreeType) -> None:
    # KV that nothing can use must not push out KV that is a hit, however often it is matched.
    tree = tree_type(4)
    put(tree, D, 11, state=9)
    node = put(tree, A, 1, state=7).node
    tree.evict_state(node)
    tree.match(A)
    tree.touch(A)
    assert tree.kv_victim() is node
    tree.unlock(tree.lock(node).receipt)
    assert tree.kv_victim() is node
    tree.check(2)
    put(tree, A, 21, state=8)
    victim = tree.kv_victim()
    assert victim is not None
    assert victim.end == 8
    assert victim.state == 9


@SCENARIOS.each()
def test_real_tree(scenario: Scenario) -> None:
    scenario(RadixTree)


@SCENARIOS.each_mutant()
def test_mutant_is_caught(scenario: Scenario, mutant: TreeType) -> None:
    must_catch(scenario, mutant)
