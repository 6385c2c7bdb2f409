"""Our tree and SGLang's under the verbs of the model, in pages; each evicts what it likes."""

from __future__ import annotations

from typing import Any, Protocol

from paths import Path, key_of
from rules import Window, until
from theirs import NOTHING, Left, Theirs

from cachepawl.policy.base import Kind, evict
from cachepawl.policy.lru import LRU
from cachepawl.tree import Freed, Lock, RadixTree, WindowPart
from cachepawl.types import Runs


class Subject(Protocol):
    """One tree under the verbs of the model."""

    page: int
    has_states: bool
    window: int | None

    def match(self, path: Path, limit: int | None) -> tuple[int, int, list[int]]: ...
    def insert(
        self,
        path: Path,
        pages: list[int],
        first: int,
        slot: int | None,
        window: Window | None = None,
    ) -> Left:
        """Publish `pages`, of the whole path; those from the `first` on are the caller's."""

    def lock(self, path: Path, keep_state: bool) -> Any: ...
    def unlock(self, receipt: Any) -> None: ...
    def evict_kv(self, pages: int) -> Left: ...
    def evict_states(self, states: int) -> Left: ...
    def evict_window(self, pages: int) -> Left: ...
    def sizes(self) -> tuple[int, int, int, int]: ...
    def window_sizes(self) -> tuple[int, int]: ...
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
        self.window = window
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
        return until(lambda: self._evict("kv"), lambda gone: len(gone.pages) >= pages)

    def evict_states(self, states: int) -> Left:
        return until(lambda: self._evict("state"), lambda gone: len(gone.states) >= states)

    def evict_window(self, pages: int) -> Left:
        return until(lambda: self._evict("window"), lambda gone: len(gone.window) >= pages)

    def window_sizes(self) -> tuple[int, int]:
        tree = self.tree
        return tree.window_evictable // self.page, tree.window_protected // self.page

    def _evict(self, kind: Kind) -> Left:
        victim = LRU.victim(self.tree, kind)
        return left(evict(self.tree, victim)) if victim else NOTHING

    def sizes(self) -> tuple[int, int, int, int]:
        tree, size = self.tree, self.page
        kv = tree.full_evictable // size, tree.full_protected // size
        return *kv, tree.state_evictable, tree.state_protected

    def check(self) -> None:
        self.tree.check(2)


def left(freed: Freed) -> Left:
    return Left(tuple(sorted(freed.pages)), freed.states, tuple(sorted(freed.window)))


class TheirSubject:
    """SGLang's cache under its own choice of what goes."""

    def __init__(
        self, core: str, page: int, *, has_states: bool, window: int | None = None
    ) -> None:
        self.page = page
        self.has_states = has_states
        self.window = window
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
        if self.window is None:
            return 0, 0
        free, held = self.theirs.window_sizes()
        return free // self.page, held // self.page

    def sizes(self) -> tuple[int, int, int, int]:
        free, held, *states = self.theirs.sizes()
        assert self.theirs.taken() == NOTHING
        return free // self.page, held // self.page, states[0], states[1]


def part_of(window: Window | None, page: int) -> WindowPart | None:
    return window and WindowPart(window[0] * page, Runs.of_pages(window[1]))
