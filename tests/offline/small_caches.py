"""Caches in which everything that a map can show has happened, by some tasks at random."""

from __future__ import annotations

import random
from array import array
from typing import Any, NamedTuple

from hypothesis import strategies as st

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock
from cachepawl.types import Key

VERBS = (*["admit", "finish"] * 6, "grow", "grow", "evict", "evict_state")
NAMESPACES = (b"", b"", b"tenant \xff <&>", b"other")


def geometry_of(page: int, frames: int, full: int, *, states: bool = True) -> Geometry:
    """An arena of `frames` frames of `full` pages, sink included; states are padded."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    if not states:
        return Geometry(kv, None, page, frames, frame_pages=full)
    elements = (full * page * kv.entry_bytes - 16) // 4
    return Geometry(kv, StateShape(1, (), 2, (elements,), 4), page, frames)


class Running(NamedTuple):
    """A request that holds a row."""

    row: int
    key: Key
    lock: Lock
    slots: tuple[int, ...]


class SmallCache:
    """Requests of whole pages; some are still running at the end."""

    def __init__(self, page: int, frames: int, full: int, *, states: bool = True) -> None:
        geometry = geometry_of(page, frames, full, states=states)
        self.slots = int(states)
        self.cache = HybridPrefixCache(geometry, states_per_request=self.slots)
        self.page = page
        self.running: list[Running] = []
        self.rows = 0

    def serve(self, draw: random.Random, tasks: int) -> HybridPrefixCache:
        """So many tasks; those that cannot be done are left out."""
        texts: list[list[int]] = [[]]
        for _ in range(tasks):
            verb, which = draw.choice(VERBS), draw.randrange(10**6)
            if verb == "admit":
                known = draw.choice(texts)
                letters = known[: draw.randrange(len(known) + 1)]
                letters = letters + draw.choices(range(3), k=draw.randrange(1, 4))
                texts.append(letters)
                self.admit(which, letters)
            elif verb == "evict":
                self.cache.evict_tokens(which % 9)
            elif verb == "evict_state":
                self.cache.evict_states(which % 2)
            elif self.running:
                request = self.running[which % len(self.running)]
                (self.finish if verb == "finish" else self.grow)(request, which)
        return self.cache

    def admit(self, which: int, letters: list[int]) -> None:
        """A request on what is cached of its text; its KV is there at once."""
        cache = self.cache
        tokens = [letter for letter in letters for _ in range(self.page)]
        key = Key(array("q", tokens).tobytes(), NAMESPACES[which % len(NAMESPACES)])
        found = cache.match(key, len(tokens) - 1)
        lock = cache.lock(found.node)
        if len(self.running) == 4 or not cache.fits(len(tokens) - found.usable_len, self.slots):
            cache.unlock(lock)
            return
        slots = cache.take_states(self.slots)
        self.rows += 1
        cache.open_row(self.rows, found.node, found.usable_len)
        cache.allocate(self.rows, len(tokens))
        self.running.append(Running(self.rows, key, lock, slots))

    def grow(self, request: Running, which: int) -> None:
        """Some tokens that the tree does not get."""
        cache = self.cache
        tokens = cache.refs.rows[request.row].count * self.page + which % (2 * self.page)
        if cache.obtainable_tokens() >= 2 * self.page:
            cache.allocate(request.row, tokens)

    def finish(self, request: Running, which: int) -> None:
        """The tree gets the text, mostly with a state; the rest goes back."""
        cache, row, length = self.cache, request.row, len(request.key.tokens) // 8
        slots = list(request.slots)
        state = slots[0] if slots and which % 3 else None
        if cache.publish(row, request.key, length, state).state_taken:
            slots.pop(0)
        cache.release(row, length, cache.refs.rows[row].count * self.page)
        cache.close_row(row)
        cache.free_states(slots)
        cache.unlock(request.lock)
        self.running.remove(request)


def small_caches() -> Any:
    """A strategy: caches of all shapes, idle or busy."""

    def make(shape: tuple[int, int, int, bool], seed: int, tasks: int) -> HybridPrefixCache:
        page, frames, full, states = shape
        small = SmallCache(page, frames, full, states=states)
        return small.serve(random.Random(seed), tasks)

    shapes = st.tuples(
        st.sampled_from([1, 4]),
        st.sampled_from([40, 20, 12, 6, 4]),
        st.sampled_from([3, 5, 2, 1]),
        st.sampled_from([True, True, False]),
    )
    return st.builds(make, shapes, st.integers(0, 10**9), st.sampled_from([80, 40, 20, 5, 0]))
