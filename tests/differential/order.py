"""What is cached and what goes next, by rules in which our tree and SGLang's may differ.

`Model` knows plain prefixes and times and finds everything by scanning.  With `OURS` it must
foretell our tree, with `SGLANG` SGLang's: then the rules are all that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from paths import Path, key_of
from theirs import NOTHING, Left, Theirs
from walk import DEPTH, Paths

from cachepawl.policy.base import EvictionPolicy, evict
from cachepawl.policy.lru import LRU_KV, LRU_STATE, LRU_WINDOW
from cachepawl.tree import Freed, Lock, RadixTree, WindowPart
from cachepawl.types import Runs


@dataclass(frozen=True)
class Rules:
    """Where the two differ; docs/differences.md says why."""

    limit_hides_the_rest: bool
    """A match with a limit does not look further, else the limit is on what may be used."""
    match_splits: bool
    """A match that ends inside an edge splits it there."""
    split_uses_suffix: bool
    """The part of a split edge that is not on the path counts as just used."""
    match_uses_kv_below_hit: bool
    """A match makes all KV that it finds the newest, else only that of the hit."""
    unlock_is_use: bool
    """What a lock kept is the newest when the lock is released."""
    cold_leaves_first: bool
    """Unlocked leaves without a state go before all others, oldest first."""
    cold_parents_go_too: bool
    """An evicted leaf takes parents along that are cold leaves without it."""
    state_takes_leaf: bool
    """Evicting the state of an unlocked leaf evicts the leaf."""


OURS = Rules(
    limit_hides_the_rest=False,
    match_splits=False,
    split_uses_suffix=False,
    match_uses_kv_below_hit=True,
    unlock_is_use=True,
    cold_leaves_first=True,
    cold_parents_go_too=True,
    state_takes_leaf=False,
)
SGLANG = Rules(
    limit_hides_the_rest=True,
    match_splits=True,
    split_uses_suffix=True,
    match_uses_kv_below_hit=False,
    unlock_is_use=False,
    cold_leaves_first=False,
    cold_parents_go_too=False,
    state_takes_leaf=True,
)


class Model:
    """Prefixes of pages: what is cached, where edges end, when each edge was used."""

    def __init__(self, rules: Rules, has_states: bool) -> None:
        self.rules = rules
        self.has_states = has_states
        self.page: dict[Path, int] = {}
        self.used: dict[Path, int] = {}  # end of an edge -> last use of its KV
        self.state: dict[Path, int] = {}
        self.state_used: dict[Path, int] = {}
        self.cold_since: dict[Path, int] = {}
        self.locks: list[tuple[Path, bool]] = []
        self.now = 0

    # Looking

    def hit(self, path: Path) -> Path:
        """The longest cached prefix."""
        length = 1
        while length < len(path) and path[: length + 1] in self.page:
            length += 1
        return path[:length]

    def cover(self, prefix: Path) -> Path:
        """The end of the edge on which a cached prefix ends."""
        if len(prefix) == 1:
            return prefix
        return min((e for e in self.used if e[: len(prefix)] == prefix), key=len)

    def on_path(self, path: Path) -> list[Path]:
        """Ends on a path, deepest first."""
        return [path[:n] for n in range(len(path), 1, -1) if path[:n] in self.used]

    def leaf(self, end: Path) -> bool:
        return all(e == end or e[: len(end)] != end for e in self.used)

    def kv_locked(self, end: Path) -> bool:
        return any(lock[: len(end)] == end for lock, _ in self.locks)

    def state_locked(self, end: Path) -> bool:
        return (end, True) in self.locks

    def cold(self, end: Path) -> bool:
        return (
            self.has_states and end not in self.state and self.leaf(end) and not self.kv_locked(end)
        )

    def edge(self, end: Path) -> list[Path]:
        above = self.on_path(end[:-1])
        start = len(above[0]) if above else 1
        return [end[:n] for n in range(start + 1, len(end) + 1)]

    def path_pages(self, prefix: Path) -> list[int]:
        return [self.page[prefix[:n]] for n in range(2, len(prefix) + 1)]

    def sizes(self) -> tuple[int, int, int, int]:
        """KV evictable and protected in pages, states evictable and protected."""
        locked = sum(len(self.edge(e)) for e in self.used if self.kv_locked(e))
        kept = sum(self.state_locked(e) for e in self.state)
        return len(self.page) - locked, locked, len(self.state) - kept, kept

    # Doing

    def settle(self) -> None:
        """Note what has become cold."""
        for end in self.used:
            if not self.cold(end):
                self.cold_since.pop(end, None)
            elif end not in self.cold_since:
                self.now += 1
                self.cold_since[end] = self.now

    def _use(self, path: Path) -> None:
        self.now += 1
        for end in self.on_path(path):
            self.used[end] = self.now

    def _split(self, prefix: Path) -> None:
        if len(prefix) > 1 and prefix not in self.used:
            suffix = self.cover(prefix)
            self.now += 1
            self.used[prefix] = self.now
            if self.rules.split_uses_suffix:
                self.used[suffix] = self.now

    def match(self, path: Path, limit: int | None) -> tuple[int, int]:
        """Pages that may be used, and pages found."""
        if limit is None:
            limit = len(path) - 1
        hit = self.hit(path[: limit + 1] if self.rules.limit_hides_the_rest else path)
        if self.rules.match_splits:
            self._split(hit)
        if self.has_states:
            ends = (e for e in self.on_path(hit[: limit + 1]) if e in self.state)
            usable = next(ends, path[:1])
        else:
            usable = hit[: limit + 1]
        self._use(self.cover(hit) if self.rules.match_uses_kv_below_hit else usable)
        if usable in self.state:
            self.state_used[usable] = self.now
        return len(usable) - 1, len(hit) - 1

    def insert(self, path: Path, pages: list[int], first: int, slot: int | None) -> Left:
        """What the caller keeps: pages that were cached, the state if there was one."""
        hit = self.hit(path)
        self._split(hit)
        spare = []
        for n, page in zip(range(first + 2, len(path) + 1), pages, strict=True):
            if n <= len(hit):
                spare.append(page)
            else:
                self.page[path[:n]] = page
        if len(path) > 1:
            self.used[path] = self.now
        self._use(path)
        had = path in self.state
        if slot is not None and not had:
            self.state[path] = slot
        if path in self.state:
            self.state_used[path] = self.now
        return Left(tuple(sorted(spare)), (slot,) if slot is not None and had else ())

    def unlock(self, which: int) -> None:
        end, keeps_state = self.locks.pop(which)
        if not self.rules.unlock_is_use:
            return
        self.now += 1
        for other in self.on_path(end):
            if not self.kv_locked(other):
                self.used[other] = self.now
        if keeps_state and end in self.state and not self.state_locked(end):
            self.state_used[end] = self.now

    def evict_kv(self, pages: int) -> Left:
        """Leaves, until so many pages are gone."""
        return until(self._evict_leaf, lambda gone: len(gone.pages) >= pages)

    def evict_states(self, states: int) -> Left:
        """States, until so many are gone."""
        return until(self._evict_state, lambda gone: len(gone.states) >= states)

    def _evict_leaf(self) -> Left:
        """The leaf that goes first, with all that goes with it."""
        self.settle()
        leaves = [e for e in self.used if self.leaf(e) and not self.kv_locked(e)]
        return self._drop(min(leaves, key=self._turn)) if leaves else NOTHING

    def _turn(self, end: Path) -> tuple[int, int]:
        if self.rules.cold_leaves_first and end in self.cold_since:
            return 0, self.cold_since[end]
        return 1, self.used[end]

    def _drop(self, end: Path) -> Left:
        pages, slots = [], []
        while True:
            above = self.on_path(end[:-1])
            pages += [self.page.pop(prefix) for prefix in self.edge(end)]
            del self.used[end]
            self.cold_since.pop(end, None)
            if end in self.state:
                slots.append(self.state.pop(end))
            if not above or not self.rules.cold_parents_go_too or not self.cold(above[0]):
                return Left(tuple(sorted(pages)), tuple(slots))
            end = above[0]

    def _evict_state(self) -> Left:
        """The state that goes first, with all that goes with it."""
        self.settle()
        ends = [e for e in self.state if not self.state_locked(e)]
        if not ends:
            return NOTHING
        end = min(ends, key=self.state_used.__getitem__)
        if self.rules.state_takes_leaf and self.leaf(end) and not self.kv_locked(end):
            return self._drop(end)
        return Left((), (self.state.pop(end),))


def until(step: Callable[[], Left], enough: Callable[[Left], bool]) -> Left:
    """Evict again and again: it is enough, or nothing is left."""
    gone = NOTHING
    while not enough(gone):
        more = step()
        if more == NOTHING:
            break
        gone = Left(*(tuple(sorted(a + b)) for a, b in zip(gone, more, strict=True)))
    return gone


class Subject(Protocol):
    """One tree under the verbs of the model."""

    page: int
    has_states: bool

    def match(self, path: Path, limit: int | None) -> tuple[int, int, list[int]]: ...
    def insert(self, path: Path, pages: list[int], first: int, slot: int | None) -> Left: ...
    def lock(self, path: Path, keep_state: bool) -> Any: ...
    def unlock(self, receipt: Any) -> None: ...
    def evict_kv(self, pages: int) -> Left: ...
    def evict_states(self, states: int) -> Left: ...
    def sizes(self) -> tuple[int, int, int, int]: ...
    def check(self) -> None: ...


class OurSubject:
    """`RadixTree` under the policy `lru`."""

    def __init__(
        self,
        page: int,
        *,
        has_states: bool,
        window: int | None = None,
        tree_type: type[RadixTree] = RadixTree,
    ) -> None:
        self.page = page
        self.has_states = has_states
        self.tree = tree_type(page, has_states=has_states, window=window)

    def match(self, path: Path, limit: int | None) -> tuple[int, int, list[int]]:
        tokens = None if limit is None else limit * self.page
        hit = self.tree.match(key_of(path, self.page), tokens)
        pages = self.tree.path_pages(hit.node).slice(0, hit.usable_len // self.page)
        return hit.usable_len // self.page, hit.kv_len // self.page, list(pages)

    def insert(
        self,
        path: Path,
        pages: list[int],
        first: int,
        slot: int | None,
        window: Window | None = None,
    ) -> Left:
        own = Runs.of_pages(pages[first:])
        key = key_of(path, self.page)
        part = part_of(window, self.page)
        done = self.tree.insert(key, own, owned_from=first * self.page, state=slot, window=part)
        kept = (slot,) if slot is not None and not done.state_taken else ()
        return Left(tuple(sorted(done.duplicates)), kept, tuple(sorted(done.spare_window)))

    def lock(self, path: Path, keep_state: bool) -> Lock:
        node = self.tree.peek(key_of(path, self.page)).deepest
        return (self.tree.lock(node) if keep_state else self.tree.lock_path(node)).receipt

    def unlock(self, receipt: Lock) -> None:
        self.tree.unlock(receipt)

    def evict_kv(self, pages: int) -> Left:
        return until(lambda: self._evict(LRU_KV), lambda gone: len(gone.pages) >= pages)

    def evict_states(self, states: int) -> Left:
        return until(lambda: self._evict(LRU_STATE), lambda gone: len(gone.states) >= states)

    def evict_window(self, pages: int) -> Left:
        return until(lambda: self._evict(LRU_WINDOW), lambda gone: len(gone.window) >= pages)

    def window_sizes(self) -> tuple[int, int]:
        tree = self.tree
        return tree.window_evictable // self.page, tree.window_protected // self.page

    def _evict(self, policy: EvictionPolicy) -> Left:
        victim = policy.victim(self.tree)
        return left(evict(self.tree, victim)) if victim else NOTHING

    def sizes(self) -> tuple[int, int, int, int]:
        tree, size = self.tree, self.page
        kv = tree.full_evictable // size, tree.full_protected // size
        return *kv, tree.state_evictable, tree.state_protected

    def check(self) -> None:
        self.tree.check(2)


Window = tuple[int, list[int]]
"""The first page that has a window page, and the window pages from there on."""


def part_of(window: Window | None, page: int) -> WindowPart | None:
    return window and WindowPart(window[0] * page, Runs.of_pages(window[1]))


def left(freed: Freed) -> Left:
    return Left(tuple(sorted(freed.pages)), freed.states, tuple(sorted(freed.window)))


class TheirSubject:
    """SGLang's cache under its own choice of what goes."""

    def __init__(
        self, core: str, page: int, *, has_states: bool, window: int | None = None
    ) -> None:
        self.page = page
        self.has_states = has_states
        self.theirs = Theirs(core, page, has_states=has_states, window=window)
        self.check = self.theirs.check

    def match(self, path: Path, limit: int | None) -> tuple[int, int, list[int]]:
        tokens = None if limit is None else limit * self.page
        hit = self.theirs.match(key_of(path, self.page), tokens)
        pages = self.theirs.path_pages(hit.node)
        return hit.usable // self.page, hit.kv // self.page, pages

    def insert(
        self,
        path: Path,
        pages: list[int],
        first: int,
        slot: int | None,
        window: Window | None = None,
    ) -> Left:
        part = part_of(window, self.page)
        self.theirs.insert(key_of(path, self.page), pages, first * self.page, slot, part)
        return self.theirs.taken()

    def lock(self, path: Path, keep_state: bool) -> Any:
        return self.theirs.lock(self.theirs.node(key_of(path, self.page)), keep_state=keep_state)

    def unlock(self, receipt: Any) -> None:
        self.theirs.unlock(receipt)

    def evict_kv(self, pages: int) -> Left:
        self.theirs.evict_kv(pages * self.page)
        return self.theirs.taken()

    def evict_states(self, states: int) -> Left:
        self.theirs.evict_states(states)
        return self.theirs.taken()

    def evict_window(self, pages: int) -> Left:
        self.theirs.evict_window(pages * self.page)
        return self.theirs.taken()

    def window_sizes(self) -> tuple[int, int]:
        free, held = self.theirs.window_sizes()
        return free // self.page, held // self.page

    def sizes(self) -> tuple[int, int, int, int]:
        free, held, *states = self.theirs.sizes()
        assert self.theirs.taken() == NOTHING
        return free // self.page, held // self.page, states[0], states[1]


class Foretold:
    """A tree and a model under the same calls: each answer must be the foretold one."""

    def __init__(self, subject: Subject, rules: Rules) -> None:
        self.subject = subject
        self.model = Model(rules, subject.has_states)
        self.receipts: list[Any] = []
        self.fresh_page = count(1)
        self.fresh_slot = count(1)

    def match(self, path: Path, limit: int | None) -> None:
        usable, found = self.model.match(path, limit)
        pages = self.model.path_pages(path[: usable + 1])
        assert self.subject.match(path, limit) == (usable, found, pages)

    def insert(self, path: Path, first: int) -> None:
        """With a state at the end, where there are states: SGLang's core knows no other."""
        if len(path) == 1:
            return
        first = min(first, len(self.model.hit(path)) - 1)
        cached = self.model.path_pages(path[: first + 1])
        own = [next(self.fresh_page) for _ in range(len(path) - 1 - first)]
        slot = next(self.fresh_slot) if self.subject.has_states else None
        spare = self.model.insert(path, own, first, slot)
        assert self.subject.insert(path, cached + own, first, slot) == spare

    def lock(self, path: Path, keep_state: bool) -> None:
        """What a match would use: an edge's end, whoever has split what."""
        hit = self.model.hit(path)
        wanted = self.model.state if self.model.has_states else self.model.used
        end = next((e for e in self.model.on_path(hit) if e in wanted), None)
        if end is not None:
            self.receipts.append(self.subject.lock(end, keep_state))
            self.model.locks.append((end, keep_state))

    def unlock(self, which: int) -> None:
        if self.receipts:
            which %= len(self.receipts)
            self.subject.unlock(self.receipts.pop(which))
            self.model.unlock(which)

    def evict_kv(self, pages: int) -> None:
        assert self.subject.evict_kv(pages) == self.model.evict_kv(pages)

    def evict_states(self, states: int) -> None:
        assert self.subject.evict_states(states) == self.model.evict_states(states)

    def agree(self) -> None:
        self.model.settle()
        assert self.subject.sizes() == self.model.sizes()

    def check(self) -> None:
        self.subject.check()

    def moves(self, paths: Paths) -> list[tuple[int, Callable[[], object]]]:
        draw, r = paths.draw, paths.random

        def when_full(move: Callable[[], object]) -> Callable[[], object]:
            return lambda: move() if r.randrange(40) < len(self.model.used) else None

        moves: list[tuple[int, Callable[[], object]]] = [
            (30, lambda: self.match(draw(), r.randrange(DEPTH + 1) if r.random() < 0.3 else None)),
            (24, lambda: self.insert(draw(), r.randrange(DEPTH + 1))),
            (8, lambda: self.lock(draw(), r.random() < 0.7)),
            (9, lambda: self.unlock(r.randrange(99))),
            (12, when_full(lambda: self.evict_kv(r.choice((1, 1, 4))))),
        ]
        if self.subject.has_states:
            moves.append((8, when_full(lambda: self.evict_states(r.choice((1, 1, 3))))))
        return moves
