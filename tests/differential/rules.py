"""What is cached and what goes next, by rules in which our tree and SGLang's may differ.

`Model` knows plain prefixes and times and finds everything by scanning.  With `OURS` it must
foretell our tree, with `SGLANG` SGLang's: then the rules are all that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paths import Path
from theirs import NOTHING, Left

Window = tuple[int, list[int]]
"""The first page that has a window page, and the window pages from there on."""


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
    part_takes_leaf: bool
    """Evicting the state or the window of an unlocked leaf evicts the leaf."""
    window_takes_state: bool
    """Evicting a window evicts the state at its end."""
    window_swaps_pages: bool
    """An unlocked tombstone that gets a window gets the caller's KV pages too."""
    new_leaf_is_capped: bool
    """The last edge of a new leaf is no longer than a window."""
    use_reaches_a_page_more: bool
    """A use of a window refreshes one page more than the window."""
    deepest_is_newest: bool
    """Of windows of one use the deepest goes last, else the nearest to the root."""
    split_uses_window: bool
    """The upper half of a split window is the newest, else as old as the lower."""


OURS = Rules(
    limit_hides_the_rest=False,
    match_splits=False,
    split_uses_suffix=False,
    match_uses_kv_below_hit=True,
    unlock_is_use=True,
    cold_leaves_first=True,
    cold_parents_go_too=True,
    part_takes_leaf=False,
    window_takes_state=False,
    window_swaps_pages=False,
    new_leaf_is_capped=False,
    use_reaches_a_page_more=False,
    deepest_is_newest=False,
    split_uses_window=True,
)
SGLANG = Rules(
    limit_hides_the_rest=True,
    match_splits=True,
    split_uses_suffix=True,
    match_uses_kv_below_hit=False,
    unlock_is_use=False,
    cold_leaves_first=False,
    cold_parents_go_too=False,
    part_takes_leaf=True,
    window_takes_state=True,
    window_swaps_pages=True,
    new_leaf_is_capped=True,
    use_reaches_a_page_more=True,
    deepest_is_newest=True,
    split_uses_window=False,
)


class Model:
    """Prefixes of pages: what is cached, where edges end, when each edge was used."""

    def __init__(self, rules: Rules, page: int, has_states: bool, window: int | None) -> None:
        self.rules = rules
        self.size = page
        self.has_states = has_states
        self.reach = window
        self.page: dict[Path, int] = {}
        self.used: dict[Path, int] = {}  # end of an edge -> last use of its KV
        self.state: dict[Path, int] = {}
        self.state_used: dict[Path, int] = {}
        self.window: dict[Path, int] = {}  # of all prefixes of an edge, or of none
        self.window_order: list[Path] = []  # ends of edges with windows, oldest first
        self.cold_since: dict[Path, int] = {}
        self.locks: list[tuple[Path, bool, int]] = []  # end, with its state, start of its window
        self.now = 0

    # Looking

    def hit(self, path: Path) -> Path:
        """The longest cached prefix."""
        length = 1
        while length < len(path) and path[: length + 1] in self.page:
            length += 1
        return path[:length]

    def usable(self, hit: Path) -> Path:
        """The longest prefix of a hit from which a request may start."""
        for n in range(len(hit), 1, -1):
            if self.has_states and hit[:n] not in self.state:
                continue
            if self.reach is None or self._window_is_whole(hit[:n]):
                return hit[:n]
        return hit[:1]

    def _window_is_whole(self, prefix: Path) -> bool:
        assert self.reach is not None
        n = len(prefix)
        while n > 1 and (len(prefix) - n) * self.size < self.reach:
            if prefix[:n] not in self.window:
                return False
            n -= 1
        return True

    def cover(self, prefix: Path) -> Path:
        """The end of the edge on which a cached prefix ends."""
        if len(prefix) == 1:
            return prefix
        return min((e for e in self.used if e[: len(prefix)] == prefix), key=len)

    def on_path(self, path: Path) -> list[Path]:
        """Ends on a path, deepest first."""
        return [path[:n] for n in range(len(path), 1, -1) if path[:n] in self.used]

    def start(self, end: Path) -> int:
        """Length of the prefix that an edge hangs on."""
        above = self.on_path(end[:-1])
        return len(above[0]) if above else 1

    def edge(self, end: Path) -> list[Path]:
        return [end[:n] for n in range(self.start(end) + 1, len(end) + 1)]

    def leaf(self, end: Path) -> bool:
        return all(e == end or e[: len(end)] != end for e in self.used)

    def kv_locked(self, end: Path) -> bool:
        return any(lock[: len(end)] == end for lock, _, _ in self.locks)

    def state_locked(self, end: Path) -> bool:
        return any(lock == end and with_state for lock, with_state, _ in self.locks)

    def window_locked(self, end: Path) -> bool:
        return any(e[: len(end)] == end and len(end) > start for e, _, start in self.locks)

    def cold(self, end: Path) -> bool:
        useless = (self.has_states and end not in self.state) or (
            self.reach is not None and end not in self.window
        )
        return useless and self.leaf(end) and not self.kv_locked(end)

    def path_pages(self, prefix: Path) -> list[int]:
        return [self.page[prefix[:n]] for n in range(2, len(prefix) + 1)]

    def sizes(self) -> tuple[int, int, int, int]:
        """KV evictable and protected in pages, states evictable and protected."""
        locked = sum(len(self.edge(e)) for e in self.used if self.kv_locked(e))
        kept = sum(self.state_locked(e) for e in self.state)
        return len(self.page) - locked, locked, len(self.state) - kept, kept

    def window_sizes(self) -> tuple[int, int]:
        """Window pages evictable and protected."""
        locked = sum(len(self.edge(e)) for e in self.window_order if self.window_locked(e))
        return len(self.window) - locked, locked

    # Using

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

    def _use_window(self, prefix: Path) -> None:
        if self.reach is None or len(prefix) == 1:
            return
        reach = self.reach + self.size * self.rules.use_reaches_a_page_more
        path = self.on_path(self.cover(prefix))
        self._newest([e for e in path if (len(prefix) - len(e)) * self.size < reach])

    def _newest(self, ends: list[Path]) -> None:
        """Make windows the newest; `ends` are of one path, deepest first."""
        for end in reversed(ends) if self.rules.deepest_is_newest else ends:
            if end in self.window:
                if end in self.window_order:
                    self.window_order.remove(end)
                self.window_order.append(end)

    # Doing

    def _split(self, prefix: Path) -> None:
        if len(prefix) == 1 or prefix in self.used:
            return
        suffix = self.cover(prefix)
        self.now += 1
        self.used[prefix] = self.now
        if self.rules.split_uses_suffix:
            self.used[suffix] = self.now
        if prefix in self.window:
            place = self.window_order.index(suffix)
            newest = self.rules.split_uses_window
            self.window_order.insert(len(self.window_order) if newest else place, prefix)

    def match(self, path: Path, limit: int | None) -> tuple[int, int]:
        """Pages that may be used, and pages found."""
        if limit is None:
            limit = len(path) - 1
        hit = self.hit(path[: limit + 1] if self.rules.limit_hides_the_rest else path)
        if self.rules.match_splits:
            self._split(hit)
        usable = self.usable(hit[: limit + 1])
        self._use(self.cover(hit if self.rules.match_uses_kv_below_hit else usable))
        self._use_window(usable)
        if usable in self.state:
            self.state_used[usable] = self.now
        return len(usable) - 1, len(hit) - 1

    def insert(
        self, path: Path, pages: list[int], first: int, slot: int | None, window: Window | None
    ) -> Left:
        """What the caller keeps: pages and window pages that were cached, the state if there was
        one."""
        hit = self.hit(path)
        self._split(hit)
        spare = []
        for n, page in zip(range(first + 2, len(path) + 1), pages, strict=True):
            if n <= len(hit):
                spare.append(page)
            else:
                self.page[path[:n]] = page
        self.used[path] = self.now
        spare_window = []
        if window is not None:
            own = dict(zip(range(first + 2, len(path) + 1), pages, strict=True))
            spare, spare_window = self._fill(path, window, own, spare, len(hit))
        self._use(path)
        self._use_window(path)
        had = path in self.state
        if slot is not None and not had:
            self.state[path] = slot
        if path in self.state:
            self.state_used[path] = self.now
        kept = (slot,) if slot is not None and had else ()
        return Left(tuple(sorted(spare)), kept, tuple(sorted(spare_window)))

    def _fill(
        self, path: Path, window: Window, own: dict[int, int], spare: list[int], hit: int
    ) -> tuple[list[int], list[int]]:
        """Give tombstones the caller's window; what the caller keeps of pages and windows."""
        assert self.reach is not None
        start, ids = window
        if path[: start + 2] not in self.window:
            self._split(path[: start + 1])
        tail = -(-self.reach // self.size)
        if self.rules.new_leaf_is_capped and len(path) - max(start + 1, hit) > tail:
            self._split(path[: len(path) - tail])
        spare_window, filled = [], []
        for end in self.on_path(path):
            if len(end) < start + 2:
                continue
            edge = [e for e in self.edge(end) if len(e) >= start + 2]
            parts = [ids[len(prefix) - start - 2] for prefix in edge]
            if end in self.window:
                spare_window += parts
                continue
            filled.append(end)
            self.window.update(zip(edge, parts, strict=True))
            swap = len(end) <= hit and not self.kv_locked(end)
            if swap and self.rules.window_swaps_pages:
                for prefix in edge:
                    mine = own[len(prefix)]
                    spare = [self.page[prefix] if page == mine else page for page in spare]
                    self.page[prefix] = mine
        self._newest(filled)
        return spare, spare_window

    def lock(self, end: Path, keep_state: bool) -> None:
        start = len(end)
        for other in self.on_path(end):
            if (len(end) - start) * self.size >= (self.reach or 0):
                break
            start = self.start(other)
        self.locks.append((end, keep_state, start))

    def unlock(self, which: int) -> None:
        end, keeps_state, start = self.locks.pop(which)
        if not self.rules.unlock_is_use:
            return
        self.now += 1
        path = self.on_path(end)
        for other in path:
            if not self.kv_locked(other):
                self.used[other] = self.now
        self._newest([e for e in path if len(e) > start and not self.window_locked(e)])
        if keeps_state and end in self.state and not self.state_locked(end):
            self.state_used[end] = self.now

    # Evicting

    def evict_kv(self, pages: int) -> Left:
        """Leaves, until so many pages are gone."""
        return until(self._evict_leaf, lambda gone: len(gone.pages) >= pages)

    def evict_states(self, states: int) -> Left:
        """States, until so many are gone."""
        return until(self._evict_state, lambda gone: len(gone.states) >= states)

    def evict_window(self, pages: int) -> Left:
        """Windows, until so many pages of them are gone."""
        return until(self._evict_window, lambda gone: len(gone.window) >= pages)

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
        gone = NOTHING
        while True:
            above = self.on_path(end[:-1])
            pages = tuple(self.page.pop(prefix) for prefix in self.edge(end))
            gone = together(gone, Left(pages, self._drop_state(end), self._drop_window(end)))
            del self.used[end]
            self.cold_since.pop(end, None)
            if not above or not self.rules.cold_parents_go_too or not self.cold(above[0]):
                return gone
            end = above[0]

    def _drop_state(self, end: Path) -> tuple[int, ...]:
        return (self.state.pop(end),) if end in self.state else ()

    def _drop_window(self, end: Path) -> tuple[int, ...]:
        if end not in self.window:
            return ()
        self.window_order.remove(end)
        return tuple(self.window.pop(prefix) for prefix in self.edge(end))

    def _goes_whole(self, end: Path) -> bool:
        return self.rules.part_takes_leaf and self.leaf(end) and not self.kv_locked(end)

    def _evict_state(self) -> Left:
        """The state that goes first, with all that goes with it."""
        self.settle()
        ends = [e for e in self.state if not self.state_locked(e)]
        if not ends:
            return NOTHING
        end = min(ends, key=self.state_used.__getitem__)
        return self._drop(end) if self._goes_whole(end) else Left((), self._drop_state(end))

    def _evict_window(self) -> Left:
        """The window that goes first, with all that goes with it."""
        self.settle()
        end = next((e for e in self.window_order if not self.window_locked(e)), None)
        if end is None:
            return NOTHING
        if self._goes_whole(end):
            return self._drop(end)
        states = self._drop_state(end) if self.rules.window_takes_state else ()
        return Left((), states, self._drop_window(end))


def together(one: Left, more: Left) -> Left:
    return Left(*(tuple(sorted(a + b)) for a, b in zip(one, more, strict=True)))


def until(step: Callable[[], Left], enough: Callable[[Left], bool]) -> Left:
    """Evict again and again: it is enough, or nothing is left."""
    gone = NOTHING
    while not enough(gone):
        more = step()
        if more == NOTHING:
            break
        gone = together(gone, more)
    return gone
