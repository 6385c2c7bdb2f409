"""Our tree and SGLang's under the same operations: everything said must be equal, page by page.

Whoever chooses what to evict, the other evicts the same, so both hold the same prefixes, the
same page and slot ids at all times, and hit lengths and sizes are compared as they are.  What
differs on purpose is bridged in one named place each:

EDGES          SGLang splits an edge where a match ends in it, we only where an insert does.
               So SGLang may have several edges where we have one: we evict one, it evicts
               the chain of them.
SPLIT_ALIKE    In a tree without states a lock may end at such a split, and a window is locked and
               evicted by whole edges.  There, if asked (`split_alike`), an insert that brings no
               page splits ours as well; if not asked, only whole edges are locked.
COLD_PARENTS   Our eviction of a leaf takes parents along that nothing can use any more.
WHOLE_LEAF     SGLang's eviction of a leaf's state takes the leaf; ours takes the state.
STATELESS      SGLang's core with states refuses an insert without one: it is given one, which
               is then taken away.  Where a lock would keep it, the insert brings a state.
WINDOWS        Where SGLang has sliding windows and ours has none, all windows stay resident, so
               none may change a hit; their pages go with the KV, and are checked for that.
CAPPED         SGLang cuts a new leaf so that its last edge is one window (in whole pages) long.
HEALED         An insert may bring the window of a tombstone.  SGLang then swaps the tombstone's
               KV pages for the caller's, unless they are locked: during an insert they are.
WINDOW_STATE   SGLang's eviction of an inner node's window takes the node's state.
LIMIT          SGLang's limit hides the rest of the key; ours limits `usable_len` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from paths import Path, cut, key_of, key_to
from theirs import NOTHING, Left, Theirs
from walk import DEPTH, Paths

from cachepawl.tree import Freed, Lock, Match, Node, RadixTree, WindowPart
from cachepawl.types import NO_PAGES, Key, Runs


class Cell(NamedTuple):
    """What is compared with what."""

    core: str
    page: int
    has_states: bool
    split_alike: bool = False
    window: int | None = None
    """Tokens of SGLang's sliding window."""
    windowed: bool = False
    """Whether our tree has it too; without, no window is ever evicted alone."""

    def __str__(self) -> str:
        kinds = "full" + f"+swa{self.window}" * (self.window is not None)
        kinds += "+mamba" * self.has_states + "-windowed" * self.windowed
        return f"{self.core}-{kinds}-page{self.page}" + ("-split" if self.split_alike else "")


class Held(NamedTuple):
    """One lock, in both trees."""

    ours: Lock
    theirs: Any


class Lockstep:
    """Both trees.  Each verb does it in both and compares; `agree` compares what is left."""

    def __init__(self, cell: Cell, tree_type: type[RadixTree] = RadixTree) -> None:
        self.cell = cell
        self.size = cell.page
        assert cell.split_alike or not cell.windowed
        window = cell.window if cell.windowed else None
        self.ours = tree_type(cell.page, has_states=cell.has_states, window=window)
        self.theirs = Theirs(cell.core, cell.page, has_states=cell.has_states, window=cell.window)
        self.locks: list[Held] = []
        self.fresh_page = count(1)
        self.fresh_slot = count(1)
        self.done: Counter[str] = Counter()

    # What both hold

    def sizes(self) -> tuple[int, int, int, int]:
        tree = self.ours
        return tree.full_evictable, tree.full_protected, tree.state_evictable, tree.state_protected

    def agree(self) -> None:
        """Sizes are equal, and nobody has lost anything on the way."""
        assert self.sizes() == self.theirs.sizes()
        if self.cell.windowed:
            ours = self.ours.window_evictable, self.ours.window_protected
            assert ours == self.theirs.window_sizes()
        assert self.theirs.taken() == NOTHING

    def nodes(self) -> list[Node]:
        return list(self.ours.walk())

    def key_to(self, node: Node) -> Key:
        return key_to(node, self.size)

    # Looking up and publishing

    def match(self, path: Path, tail: int = 0, limit: int | None = None) -> int:
        """Hit lengths, and the pages that a request would be given."""
        key = key_of(path, self.size, tail)
        hit = self.ours.match(key, limit)
        found = self.theirs.match(key, limit)
        seen = hit.kv_len
        if limit is not None:
            seen = min(seen, limit - limit % self.size)  # LIMIT
        assert (hit.usable_len, seen) == (found.usable, found.kv)
        pages = self.ours.path_pages(hit.node).slice(0, hit.usable_len // self.size)
        assert list(pages) == self.theirs.path_pages(found.node)
        if self.cell.windowed:
            self._same_window(hit)
        if self.cell.split_alike and seen:  # SPLIT_ALIKE
            self._split_ours(cut(key, seen))
        self.done["match"] += 1
        self.done["hit"] += hit.usable_len > 0
        self.done["shorter"] += hit.usable_len < seen
        return hit.usable_len

    def _same_window(self, hit: Match) -> None:
        """The window pages before the hit are resident, and SGLang's."""
        assert self.cell.window is not None
        start = max(hit.usable_len - self.cell.window, 0) // self.size
        stop = hit.usable_len // self.size
        ours = self.ours.path_window(hit.node, start * self.size).slice(0, stop - start)
        pages = self.ours.path_pages(hit.node).slice(start, stop)
        assert list(ours) == self.theirs.window_pages(list(pages))

    def _split_ours(self, key: Key) -> None:
        """Publish what is cached already: that splits an edge, and changes what is newest."""
        length = len(key.tokens) // 8
        done = self.ours.insert(key, NO_PAGES, owned_from=length, state=None)
        assert (done.matched_len, done.node.end) == (length, length)

    def insert(
        self, path: Path, first: int, with_state: bool, window_from: int | None = None
    ) -> None:
        """Publish all of a key; pages from the `first` on (or the hit, if less) are our own.

        `window_from`: the first page of which there is a window page too, or None.
        """
        key, length = key_of(path, self.size), len(path) - 1
        deepest = self.ours.peek(key).deepest
        known = self.ours.peek(key).kv_len // self.size
        first = min(first, known)
        own = [next(self.fresh_page) for _ in range(length - first)]
        window = None
        if self.cell.windowed and window_from is not None:
            window_from = min(max(window_from, first), length)
            fresh = [next(self.fresh_page) for _ in range(length - window_from)]
            window = WindowPart(window_from * self.size, Runs.of_pages(fresh))
        with_state |= deepest.state_lock > 0  # STATELESS
        slot = next(self.fresh_slot) if with_state and self.cell.has_states and length else None
        cached = list(self.ours.path_pages(deepest))[:first]
        more: dict[str, Any] = {"window": window} if self.cell.windowed else {}
        done = self.ours.insert(
            key, Runs.of_pages(own), owned_from=first * self.size, state=slot, **more
        )
        left, lent = self._insert_theirs(key, cached + own, first, slot, window, done.matched_len)
        spare = [slot] if slot is not None and not done.state_taken else []
        spare += [lent] if lent is not None else []
        assert left.pages == tuple(sorted(done.duplicates))
        assert left.states == tuple(spare)
        if self.cell.windowed:
            assert left.window == tuple(sorted(done.spare_window))
        elif self.cell.window is not None:
            assert left.window == left.pages
        self._cap(key, known, window)
        assert list(self.ours.path_pages(done.node)) == self.theirs.path_pages(
            self.theirs.node(key) if length else self.theirs.match(key).node
        )
        self.done["insert"] += 1
        self.done["insert without a state"] += lent is not None
        self.done["spare window"] += bool(left.window)

    def _insert_theirs(
        self,
        key: Key,
        pages: list[int],
        first: int,
        slot: int | None,
        window: WindowPart | None,
        matched: int,
    ) -> tuple[Left, int | None]:
        """What left, and the state that SGLang was lent, if one was (STATELESS)."""
        bare = slot is None and self.cell.has_states and bool(key.tokens)
        lent = next(self.fresh_slot) if bare else None
        held = None
        if self.cell.windowed and matched:  # HEALED
            held = self.theirs.hold_kv(cut(key, matched))
        said = self.theirs.insert(
            key,
            pages,
            first * self.size,
            lent if bare else slot,
            window,
            whole_window=not self.cell.windowed,
        )
        assert said == matched
        if held is not None:
            self.theirs.unlock(held)
        left = self.theirs.taken()
        if bare and lent not in left.states:
            others = [self.key_to(node) for node in self.nodes() if node.state is not None]
            self.theirs.drop_state(key, others)
            left = left._replace(states=self.theirs.taken().states)
        return left, lent

    def _cap(self, key: Key, known: int, window: WindowPart | None) -> None:
        """CAPPED"""
        if window is None:
            return
        assert self.cell.window is not None
        length = len(key.tokens) // 8
        live = length - max(window.start, known * self.size)
        tail = -(-self.cell.window // self.size) * self.size
        if live > tail:
            self._split_ours(cut(key, length - tail))

    # Locks

    def lock(self, path: Path, keep_state: bool, deepest: bool) -> None:
        """Lock what a match would use, or the deepest node, state or not."""
        key = key_of(path, self.size)
        hit = self.ours.peek(key)
        node = hit.deepest if deepest else hit.node
        key = self.key_to(node)
        if node is not self.ours.root and not self.theirs.ends_at(key):
            return  # cannot be: all our ends are SGLang's
        theirs = self.theirs.node(key) if key.tokens else self.theirs.match(Key(b"")).node
        locked = self.ours.lock(node) if keep_state else self.ours.lock_path(node)
        before = self.theirs.sizes()[0]
        receipt = self.theirs.lock(theirs, keep_state=keep_state)
        pinned = sum(runs.count for runs in locked.pinned) * self.size
        assert pinned == before - self.theirs.sizes()[0]
        self.locks.append(Held(locked.receipt, receipt))
        self.done["lock"] += 1

    def unlock(self, which: int) -> None:
        if not self.locks:
            return
        held = self.locks.pop(which % len(self.locks))
        before = self.theirs.sizes()[0]
        released = self.ours.unlock(held.ours)
        self.theirs.unlock(held.theirs)
        freed = sum(runs.count for runs in released) * self.size
        assert freed == self.theirs.sizes()[0] - before
        self.done["unlock"] += 1

    # Evicting

    def evict_kv(self, which: int | None = None) -> None:
        """Our choice of a leaf (None), or any leaf that may go."""
        if which is None:
            node = self.ours.kv_victim()
        else:
            leaves = [n for n in self.nodes() if not n.children and not n.full_lock]
            node = leaves[which % len(leaves)] if leaves else None
        if node is None:
            assert self.ours.full_evictable == self.theirs.sizes()[0] == 0
            assert self.theirs.evict_kv(1) == 0
            return
        self._follow_kv(node)
        self.done["evict kv"] += 1

    def _follow_kv(self, node: Node, gone: Left = NOTHING) -> Freed:
        """Evict a leaf of ours; of SGLang's the same, of which `gone` has left already."""
        key = self.key_to(node)
        freed = self.ours.evict_kv(node)
        stop = len(key.tokens) // 8 - freed.pages.count * self.size
        length = self.theirs._find(key)[0]
        if length > stop:  # EDGES, COLD_PARENTS
            self.theirs.drop_kv(cut(key, length), stop)
        left = self.theirs.taken()
        pages = tuple(page for page in gone.pages if page in set(freed.pages))
        states = tuple(slot for slot in gone.states if slot in freed.states)
        window = left.window
        if self.cell.windowed:
            window += tuple(page for page in gone.window if page in set(freed.window))
        else:
            window += pages if self.cell.window is not None else ()
        self._same(freed, Left(left.pages + pages, left.states + states, window))
        return freed

    def _same(self, freed: Freed, left: Left) -> None:
        assert tuple(sorted(freed.pages)) == tuple(sorted(left.pages))
        assert tuple(sorted(freed.states)) == tuple(sorted(left.states))
        if self.cell.windowed:
            assert tuple(sorted(freed.window)) == tuple(sorted(left.window))
        elif self.cell.window is not None:
            assert tuple(sorted(left.window)) == tuple(sorted(left.pages))  # WINDOWS

    def evict_state(self, which: int | None = None) -> None:
        """Our choice of a state (None), or any that may go."""
        holders = [n for n in self.nodes() if n.state is not None]
        if which is None:
            node = self.ours.state_victim()
        else:
            free = [n for n in holders if not n.state_lock]
            node = free[which % len(free)] if free else None
        if node is None:
            assert self.ours.state_evictable == self.theirs.sizes()[2] == 0
            assert not self.cell.has_states or self.theirs.evict_states(1) == 0
            return
        others = [self.key_to(n) for n in holders if n is not node]
        self.theirs.drop_state(self.key_to(node), others)
        self._same(self.ours.evict_state(node), self.theirs.taken())
        self.done["evict state"] += 1

    def evict_theirs(self, tokens: int = 0, states: int = 0, window: int = 0) -> None:
        """SGLang's choice, for one of the three: ours evicts the same, whole edges at a time.

        SGLang counts what leaves, until it is enough or nothing is left.
        """
        room = self.theirs.sizes()
        if tokens:
            said = self.theirs.evict_kv(tokens)
            gone = self.theirs.taken()
            assert said == len(gone.pages) * self.size >= min(tokens, room[0])
        elif states:
            said = self.theirs.evict_states(states)
            gone = self.theirs.taken()
            assert said == len(gone.states) == min(states, room[2])
        else:
            least = min(window, self.theirs.window_sizes()[0])
            said = self.theirs.evict_window(window)
            gone = self.theirs.taken()
            assert said == len(gone.window) * self.size >= least
        self._follow(gone)
        self.done["SGLang's choice"] += 1
        self.done["SGLang's choice of windows"] += bool(window and gone.window)

    def _follow(self, gone: Left) -> None:
        pages, windows = set(gone.pages), set(gone.window if self.cell.windowed else ())
        for node in sorted(self.nodes(), key=lambda n: -n.end):
            if node.parent is None:
                continue  # a parent that ours has taken along
            if pages.intersection(node.pages):
                freed = self._follow_kv(node, gone)  # EDGES, COLD_PARENTS
                pages.difference_update(freed.pages)
                windows.difference_update(freed.window)
                continue
            if node.window is not None and windows.intersection(node.window):
                windows.difference_update(self.ours.evict_window(node).window)
            slot = node.state
            if slot is not None and slot in gone.states:  # WINDOW_STATE, if for a window
                assert self.ours.evict_state(node).states == (slot,)
        assert not pages
        assert not windows

    def reset(self) -> None:
        """Only without locks: ours refuses otherwise, SGLang does not ask."""
        while self.locks:
            self.unlock(0)
        self.ours.reset()
        self.theirs.reset()
        self.done["reset"] += 1

    def check(self) -> None:
        """Both trees' own invariants."""
        self.ours.check(2)
        self.theirs.check()

    # The walk

    def moves(self, paths: Paths) -> list[tuple[int, Callable[[], object]]]:
        draw, r = paths.draw, paths.random

        def match() -> None:
            limit = r.randrange(DEPTH * self.size + 2) if r.random() < 0.3 else None
            self.match(draw(), r.randrange(self.size), limit)

        def insert() -> None:
            first = r.randrange(DEPTH + 1)
            window_from = r.choice((first, first, r.randrange(DEPTH + 1), None))
            self.insert(draw(), first, r.random() < 0.8, window_from)

        def when_full(move: Callable[[], object]) -> Callable[[], object]:
            """Let the trees grow to some tens of nodes."""
            return lambda: move() if r.randrange(60) < self.ours.num_nodes else None

        moves: list[tuple[int, Callable[[], object]]] = [
            (30, match),
            (24, insert),
            (8, lambda: self.lock(draw(), r.random() < 0.7, r.random() < 0.3)),
            (9, lambda: self.unlock(r.randrange(99))),
            (8, when_full(self.evict_kv)),
            (8, when_full(lambda: self.evict_kv(r.randrange(999)))),
            (5, when_full(lambda: self.evict_theirs(r.randrange(1, 4 * self.size)))),
            (1, lambda: self.reset() if r.random() < 0.05 else None),
        ]
        if self.cell.has_states:
            moves += [
                (5, when_full(self.evict_state)),
                (5, when_full(lambda: self.evict_state(r.randrange(999)))),
                (2, when_full(lambda: self.evict_theirs(states=r.randrange(1, 4)))),
            ]
        if self.cell.windowed:
            window = when_full(lambda: self.evict_theirs(window=r.randrange(1, 4 * self.size)))
            moves.append((3, window))
        return moves
