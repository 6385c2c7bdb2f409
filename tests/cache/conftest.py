"""A server in miniature: requests drive `HybridPrefixCache`, and a memory remembers.

`Memory` is the device: for every token of every page the prefix that it was computed
from, for every slot the prefix that its state stands for.  What the tree or a row calls
its own is compared with it after every step, so pages that are used after they were
freed, shared wrongly or written by two show at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import contextmanager
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

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import DoubleFree, InvariantError, LockError, OutOfPages
from cachepawl.evacuation import Admission, Evacuated
from cachepawl.policy import POLICIES
from cachepawl.policy.joint import Joint
from cachepawl.pool.evacuation import BURST_FRAMES
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock, Match, Node
from cachepawl.types import TOKEN_BYTES, Key

NAMESPACES = (b"", b"n")
PICKS = st.integers(0, 10**6)
LETTERS = st.lists(st.integers(0, 1), min_size=1, max_size=4)
TASKS = st.tuples(
    st.sampled_from(["admit", "decode", "checkpoint", "finish", "admit", "finish", "retract"]),
    PICKS,
    LETTERS,
    st.integers(0, 3),
)
"""A verb of the server, what it is done to, and some text."""
Prefix = tuple[Any, ...]
"""A namespace, then tokens."""
MOST = 8
"""Pages of the longest text that is asked for."""


def geometry_of(page: int, frames: int, full: int, *, states: bool = True) -> Geometry:
    """An arena of `frames` frames of `full` pages, sink included."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    if not states:
        return Geometry(kv, None, page, frames, frame_pages=full)
    # One unit less than the frame, so that frames are padded.
    elements = (full * page * kv.entry_bytes - 16) // 4
    return Geometry(kv, StateShape(1, (), 2, (elements,), 4), page, frames)


def key_of(prefix: Prefix) -> Key:
    return Key(array("q", prefix[1:]).tobytes(), prefix[0])


class Memory:
    """What the device would hold."""

    def __init__(self) -> None:
        self.kv: dict[tuple[int, int], Prefix] = {}
        self.states: dict[int, Prefix] = {}
        self.rows: dict[int, list[int]] = {}
        """The device's copy of the page lists: written when a row grows or changes hands,
        and from what an evacuation reports."""

    def forget(self, pages: range) -> None:
        """What is freed may not be read again."""
        for page, offset in [at for at in self.kv if at[0] in pages]:
            del self.kv[page, offset]

    def carry(self, done: Evacuated) -> None:
        """Copy the pages that move, and the rows' new page ids."""
        fresh = {
            (move.target + page - move.source, offset): text
            for move in done.moves.every
            for (page, offset), text in self.kv.items()
            if move.source <= page < move.source + move.pages
        }
        for runs in (done.moves.sources, done.moves.targets):
            for first, count in runs.runs:
                self.forget(range(first, first + count))
        self.kv |= fresh
        for piece in done.rows:
            row, at = self.rows[piece.row], piece.position
            row[at : at + piece.pages] = range(piece.first, piece.first + piece.pages)


class Request:
    """One running request; `text` is its namespace and tokens so far."""

    def __init__(self, row: int, text: Prefix, start: Match, receipt: Lock) -> None:
        self.row = row
        self.text = text
        self.receipt = receipt
        self.done = start.usable_len  # tokens computed
        self.shared = start.usable_len  # tokens whose pages are the tree's
        self.slots: tuple[int, ...] = ()

    def prefix(self, tokens: int) -> Prefix:
        return self.text[: 1 + tokens]


class Held(NamedTuple):
    """A receipt and what it promises."""

    receipt: Lock
    prefix: Prefix
    state: bool


class ServerMachine(RuleBasedStateMachine):
    """`cache_type` may be a broken one; `policy` is a name."""

    policy = "lru"

    cache_type: type[HybridPrefixCache] = HybridPrefixCache
    task_strategy = TASKS

    @initialize(
        page=st.sampled_from([1, 4]),
        frames=st.sampled_from([8, 7, 9, 12, 6, 5]),
        full=st.sampled_from([3, 4, 5, 2, 1]),
        states=st.sampled_from([1, 2, 0]),
        caps=st.sampled_from([(None, None)] * 3 + [(13, None), (None, 4), (12, 5)]),
        tasks=st.lists(TASKS, min_size=5, max_size=15),
    )
    def start_server(
        self,
        page: int,
        frames: int,
        full: int,
        states: int,
        caps: tuple[int | None, int | None],
        tasks: list[Any],
    ) -> None:
        self.page = page
        self.states = states
        limits = tuple(UNLIMITED if cap is None else cap for cap in caps)
        self.cache = self.cache_type(
            self.geometry(page, frames, full),
            states_per_request=states,
            policy=POLICIES[self.policy](),
            page_cap=limits[0],
            state_cap=limits[1],
        )
        self.memory = Memory()
        self.cache.carry = self.memory.carry
        self.wire()
        per_frame = self.cache.frames.pages_per_frame
        self.cache.frames.on_release = lambda frame: self.forget_frame(frame, per_frame)
        self.running: dict[int, Request] = {}
        self.locked: list[Held] = []
        self.spent: list[Lock] = []
        self.texts: list[Prefix] = []
        self.next_row = 0
        self.now = 0
        self.serve(tasks)

    # What a cache of compressed states does differently (test_checkpoints.py)

    def geometry(self, page: int, frames: int, full: int) -> Geometry:
        return geometry_of(page, frames, full, states=self.states > 0)

    def forget_frame(self, frame: int, per_frame: int) -> None:
        self.memory.forget(range(frame * per_frame, (frame + 1) * per_frame))

    def wire(self) -> None:
        """The cache is there."""

    def kept(self, state: int | None) -> Prefix:
        """What a state of the tree was computed from."""
        assert state in self.memory.states, f"state {state} holds nothing"
        return self.memory.states[state]

    def evictable_frames(self) -> int:
        """Frames that evicting states alone would empty, counted from the nodes."""
        return sum(n.state is not None and not n.state_lock for n in self.cache.tree.walk())

    def offered(self, request: Request, depth: int) -> int | None:
        """Room for a copy of a running request's state, and the copy; None on a shortage."""
        got = self.cache.try_states(1)
        if got is None:
            return None
        self.memory.states[got[0]] = request.prefix(depth)
        return got[0]

    def taken_back(self, state: int) -> None:
        self.cache.free_states([state])

    def parting(self, slots: list[int], slot: int) -> int | None:
        """The state that a finished request leaves, which is in its `slot`."""
        return slot

    def parted(self, slots: list[int], slot: int, state: int, taken: bool) -> None:
        if taken:
            slots.remove(slot)

    # What must not change

    def picture(self) -> str:
        """All but recency and counters of refusals."""
        frames = self.cache.frames
        arena = {k: v for k, v in vars(frames).items() if k not in ("counters", "on_release")}
        rows = {
            row: (entry.runs, entry.shared, entry.released)
            for row, entry in self.cache.refs.rows.items()
        }
        nodes = [
            (id(n), n.key, n.end, n.pages, n.state, n.full_lock, n.state_lock)
            for n in self.cache.tree.walk()
        ]
        return repr((arena, rows, nodes, self.cache.row_states, self.cache.store.stats()))

    @contextmanager
    def refused(self, error: type[Exception]) -> Any:
        before = self.picture()
        with pytest.raises(error):
            yield
        assert self.picture() == before

    @rule(tasks=st.lists(TASKS, min_size=2, max_size=12))
    def serve(self, tasks: list[Any]) -> None:
        for verb, which, letters, tail in tasks:
            if verb == "admit" and len(self.running) < 4:
                batch = [self.text_of(which, letters, tail)]
                if which % 5 == 0:  # two in one pass
                    batch.append(self.text_of(which // 5, letters[::-1], 0))
                self.admit(batch, which)
            elif self.running and verb == "decode":
                self.decode(self.pick(which), letters * (1 + tail))
            elif self.running and verb == "checkpoint":
                self.checkpoint(self.pick(which), which)
            elif self.running and verb != "admit":
                self.finish(self.pick(which), which, publish=verb == "finish")
            self.all_is_well()

    # A prompt, near to what was asked before

    def text_of(self, which: int, letters: list[int], tail: int) -> Prefix:
        tokens = [t for letter in letters for t in [0] * (self.page - 1) + [letter]]
        tokens += [1] * min(tail, self.page - 1)
        text = (NAMESPACES[which % 7 == 0], *tokens)
        if self.texts and which % 3:
            base = self.texts[which // 3 % len(self.texts)]
            cut = 1 + which // 90 % len(base)
            text = (*base, *tokens[: self.page]) if which % 3 == 1 else (*base[:cut], *tokens)
        return text[: 1 + MOST * self.page]

    def check_match(self, found: Match, text: Prefix) -> None:
        """The pages and the state of a hit are those of exactly this prefix."""
        pages = list(self.cache.tree.path_pages(found.deepest))
        assert found.kv_len <= min(len(pages) * self.page, len(text) - 1)
        for i in range(found.kv_len):
            assert self.memory.kv[pages[i // self.page], i % self.page] == text[: i + 2]
        path = list(self.cache.tree.path_pages(found.node))
        assert path[: found.usable_len // self.page] == pages[: found.usable_len // self.page]
        assert found.usable_len <= found.kv_len
        if self.states and found.usable_len:
            assert found.node.end == found.usable_len
            assert found.node.state is not None
            assert self.kept(found.node.state) == text[: 1 + found.usable_len]

    # Admission

    def admit(self, texts: list[Prefix], which: int) -> None:
        """Match, lock, ask; when told that it fits, nothing may fail until all is allocated."""
        batch = [self.matched(text) for text in texts]
        missing = [len(request.text) - 1 - request.done for request in batch]
        pages = sum(self.cache.geometry.pages_of(tokens) for tokens in missing)
        if not self.has_way(pages * self.page, self.states * len(batch)):
            if which % 2:
                self.does_not_fit(batch)
            for request in batch:
                self.cache.unlock(request.receipt)
            return
        for request in batch:
            request.slots = self.cache.take_states(self.states)
        for request in batch:
            self.open(request)
            self.now += which % 11 * 700
            self.cache.begin(request.row, key_of(request.text), self.now)
        chunk = self.page * (1 + which // 2 % 3)
        for request in batch:
            while request.done < len(request.text) - 1:
                self.compute(request, min(request.done + chunk, len(request.text) - 1))
                # Another's checkpoint would take the room that was promised.
                if len(batch) == 1 and which % 4 == 0:
                    self.checkpoint(request, which, spare=False)

    def has_way(self, tokens: int, states: int) -> bool:
        """Asked step by step, as a server does: what fits after packing gets its way soon."""
        cache, counters = self.cache, self.cache.counters
        fits, packed = cache.fits(tokens, states), self.packed(tokens, states)
        before, way = self.picture(), Admission.SOON
        for _ in range(cache.frames.num_frames):
            moved = -counters.evacuated_pages
            way = cache.make_way(tokens, states)
            moved += counters.evacuated_pages
            assert moved <= BURST_FRAMES * cache.frames.pages_per_frame
            assert moved > 0 if way is Admission.SOON else moved == 0 or not fits
            self.all_is_well()
            if way is not Admission.SOON:
                break
        assert way is (Admission.OPEN if packed else Admission.CLOSED)
        assert cache.fits(tokens, states) == packed
        if fits or not packed:
            assert self.picture() == before
        return packed

    def packed(self, tokens: int, states: int) -> bool:
        """Whether pages and states fit in whole frames once all that is pinned is packed."""
        cache, frames = self.cache, self.cache.frames
        pinned = {page for node in cache.tree.walk() if node.full_lock for page in node.pages}
        for row, entry in cache.refs.rows.items():
            pinned.update(cache.refs.pages(row, entry.shared, entry.count))
        pages = len(pinned) + tokens // self.page
        held = frames.states - self.evictable_frames() + states
        return (
            pages <= frames.page_cap
            and held <= frames.state_cap
            and held + -(-pages // frames.pages_per_frame) <= frames.num_frames - 1
        )

    @rule(tokens=st.integers(0, 25), states=st.integers(0, 4), exact=st.booleans())
    def make_way(self, tokens: int, states: int, exact: bool) -> None:
        """Somebody else asks; `exact` for all the states that could be had."""
        if exact:
            states = max((n for n in range(12) if self.packed(tokens * self.page, n)), default=0)
        self.has_way(tokens * self.page, states)

    def matched(self, text: Prefix) -> Request:
        self.texts = [*self.texts[-20:], text]
        found = self.cache.match(key_of(text), len(text) - 2)
        self.check_match(found, text)
        assert found.usable_len <= len(text) - 2
        self.next_row += 1
        return Request(self.next_row, text, found, self.cache.lock(found.node))

    def open(self, request: Request) -> None:
        node = request.receipt.node
        self.cache.open_row(request.row, node, request.done)
        self.running[request.row] = request
        self.memory.rows[request.row] = list(self.cache.refs.pages(request.row, 0, 10**6))
        if request.slots:
            # The matched state is copied; locked as it is, it must still be there.
            begin = request.prefix(0)
            if request.done:
                assert node.state is not None
                begin = self.kept(node.state)
            for slot in request.slots:
                self.memory.states[slot] = begin

    def does_not_fit(self, batch: list[Request]) -> None:
        """Who was refused could not have run: whatever it tries, something is missing."""
        opened = []
        with pytest.raises(OutOfPages):  # noqa: PT012 - the first of many verbs that fails
            for request in batch:
                request.slots = self.cache.take_states(self.states)
            for request in batch:
                self.cache.open_row(request.row, request.receipt.node, request.done)
                opened.append(request)
            for request in batch:
                self.cache.allocate(request.row, len(request.text) - 1)
        for request in opened:
            self.cache.release(request.row, request.shared, len(request.text))
            self.cache.close_row(request.row)
        for request in batch:
            self.cache.free_states(request.slots)
            request.slots = ()

    # A running request

    def pick(self, which: int) -> Request:
        return self.running[sorted(self.running)[which % len(self.running)]]

    def compute(self, request: Request, stop: int) -> None:
        """KV of tokens `[done, stop)`; the working state moves on."""
        before = self.cache.refs.rows[request.row].count
        missing = self.cache.geometry.pages_of(stop) - before
        if missing == 1 and stop == request.done + 1:  # as a decode step does
            assert self.cache.make_room_for_pages(1)
            (page,) = self.cache.next_pages([request.row])
            assert page == self.cache.refs.rows[request.row].last_page
        else:
            assert self.cache.allocate(request.row, stop).count == missing
        pages = list(self.cache.refs.pages(request.row, 0, 10**6))
        mirror = self.memory.rows[request.row]
        mirror += pages[len(mirror) :]
        for i in range(request.done, stop):
            self.memory.kv[pages[i // self.page], i % self.page] = request.prefix(i + 1)
        request.done = stop
        if request.slots:
            self.memory.states[request.slots[0]] = request.prefix(stop)
            # A second slot tracks the deepest whole page.
            aligned = stop // self.page * self.page
            self.memory.states[request.slots[-1]] = request.prefix(
                stop if self.states == 1 else aligned
            )

    def decode(self, request: Request, tokens: list[int]) -> None:
        for token in tokens:
            request.text = (*request.text, token)
            page_more = request.done % self.page == 0
            if self.cache.obtainable_tokens() < self.page * page_more:
                with self.refused(OutOfPages):
                    self.cache.allocate(request.row, request.done + 1)
                request.text = request.text[:-1]
                return
            self.compute(request, request.done + 1)

    def checkpoint(self, request: Request, which: int, *, spare: bool = True) -> None:
        """Publish what is computed, and a copy of the state if the depth allows."""
        depth = request.done // self.page * self.page
        if depth <= request.shared:
            return
        slot = None
        if spare and which % 4 and self.state_at(request, depth):
            slot = self.offered(request, depth)
        taken = self.publish(request, depth, slot, kv_only=which % 2 == 0)
        if slot is not None and not taken:
            self.taken_back(slot)

    def state_at(self, request: Request, depth: int) -> int | None:
        """The request's slot that holds the state at `depth`."""
        for slot in request.slots:
            if self.memory.states[slot] == request.prefix(depth):
                return slot
        return None

    def publish(self, request: Request, depth: int, slot: int | None, kv_only: bool) -> bool:
        cache, row = self.cache, request.row
        before = list(cache.refs.pages(row, 0, 10**6))
        done = cache.publish(row, key_of(request.text), depth, slot)
        after = list(cache.refs.pages(row, 0, 10**6))
        if done.replaced:
            self.memory.rows[row][: depth // self.page] = after[: depth // self.page]
        assert done.node.end == depth
        assert after[: depth // self.page] == list(cache.tree.path_pages(done.node))
        assert (after != before) == done.replaced
        assert done.state_taken <= (slot is not None)
        lock = cache.lock_path if kv_only else cache.lock
        receipt = lock(done.node)
        cache.unlock(request.receipt)
        self.spent.append(request.receipt)
        request.receipt, request.shared = receipt, depth
        found = cache.tree.peek(key_of(request.prefix(depth)))
        self.check_match(found, request.prefix(depth))
        assert found.kv_len == depth
        if slot is not None or not self.states:
            assert found.usable_len == depth
        return done.state_taken

    # Its end

    def finish(self, request: Request, which: int, *, publish: bool) -> None:
        """Publish and go, handing over the state; or, retracted, go without."""
        depth = request.done // self.page * self.page
        slots = list(request.slots)
        if publish and depth >= max(request.shared, 1):
            slot = self.state_at(request, depth)
            state = None if slot is None else self.parting(slots, slot)
            taken = self.publish(request, depth, state, kv_only=False)
            assert taken <= (state is not None)
            if slot is not None and state is not None:
                self.parted(slots, slot, state, taken)
        self.leave(request, tuple(slots), which)

    def leave(self, request: Request, slots: tuple[int, ...], cut: int) -> None:
        """Own pages go back in two parts, in either order."""
        cache, row = self.cache, request.row
        own = list(range(request.shared, request.done + self.page, self.page))
        middle = own[cut % len(own)]
        parts = [(request.shared, middle), (middle, request.done)]
        for start, stop in parts[:: 1 if cut % 2 else -1]:
            cache.release(row, start, stop)
        if request.done > request.shared:
            with self.refused(DoubleFree):
                cache.release(row, request.shared, request.shared + 1)
        cache.close_row(row)
        cache.free_states(slots)
        cache.unlock(request.receipt)
        self.spent.append(request.receipt)
        del self.running[row], self.memory.rows[row]

    # Others

    @precondition(lambda self: self.running or self.spent)
    @rule(which=PICKS, fewer=st.integers(0, 9), states=st.integers(1, 5))
    def misuse(self, which: int, fewer: int, states: int) -> None:
        cache = self.cache
        for receipt in self.spent:
            with self.refused(LockError):
                cache.unlock(receipt)
        self.spent.clear()
        if not cache.fits(0, states):
            with self.refused(OutOfPages):
                cache.take_states(states)
        if not self.running:
            return
        request = self.pick(which)
        before = self.picture()
        assert not cache.allocate(request.row, max(0, request.done - fewer))
        assert self.picture() == before
        with self.refused(InvariantError):
            cache.open_row(request.row, cache.tree.root, 0)
        with self.refused(LockError):
            cache.reset()
        if request.done > request.shared:
            with self.refused(InvariantError):
                cache.close_row(request.row)

    @precondition(lambda self: self.texts)
    @rule(which=PICKS, letters=LETTERS, kv_only=st.booleans())
    def keep(self, which: int, letters: list[int], kv_only: bool) -> None:
        """Somebody locks a prefix and goes on holding it."""
        text = self.text_of(which, letters, 0)
        found = self.cache.match(key_of(text))
        self.check_match(found, text)
        if len(self.locked) < 3 and found.usable_len:
            lock = self.cache.lock_path if kv_only else self.cache.lock
            prefix = text[: 1 + found.usable_len]
            self.locked.append(Held(lock(found.node), prefix, not kv_only))

    @precondition(lambda self: self.locked)
    @rule(which=PICKS)
    def let_go(self, which: int) -> None:
        held = self.locked.pop(which % len(self.locked))
        self.cache.unlock(held.receipt)
        self.spent.append(held.receipt)

    @rule(tokens=st.integers(0, 30))
    def evict_tokens(self, tokens: int) -> None:
        before = self.cache.refs.tree_pages
        room = self.cache.tree.full_evictable
        gone = self.cache.evict_tokens(tokens)
        assert gone >= min(tokens, room)
        assert before - self.cache.refs.tree_pages == gone // self.page

    @rule(states=st.integers(0, 3))
    def evict_states(self, states: int) -> None:
        room = self.cache.tree.state_evictable
        gone = self.cache.evict_states(states)
        assert gone == min(states, room) == room - self.cache.tree.state_evictable

    @rule(pages=st.integers(0, 20))
    def make_room_for_pages(self, pages: int) -> None:
        can = self.cache.obtainable_tokens() >= pages * self.page
        self.make_room(self.cache.make_room_for_pages, pages, can)
        assert not can or self.cache.frames.available_pages >= pages

    @rule(states=st.integers(0, 4))
    def make_room_for_states(self, states: int) -> None:
        can = self.cache.fits(0, states)
        self.make_room(self.cache.make_room_for_states, states, can)
        assert not can or self.cache.frames.available_states >= states

    def make_room(self, verb: Callable[[int], bool], count: int, can: bool) -> None:
        before = self.picture()
        assert verb(count) == can
        if not can:
            assert self.picture() == before

    @precondition(lambda self: not self.running and not self.locked)
    @rule()
    def reset(self) -> None:
        self.cache.reset()
        stats = self.cache.stats()
        assert stats["frames_free"] == stats["frames"]
        assert stats["tree_nodes"] == stats["pages_in_use"] == 0

    # After every step

    def prefix_of(self, node: Node) -> Prefix:
        parts: list[bytes] = []
        while node.parent is not None:
            parts.append(node.key)
            top, node = node, node.parent
        namespace = top.hook[: -TOKEN_BYTES * self.page]
        return (namespace, *array("q", b"".join(reversed(parts))))

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.cache.check(1)
        self.cache.check(2)
        for node in self.cache.tree.walk():
            prefix = self.prefix_of(node)
            for i, page in enumerate(node.pages, node.start // self.page):
                for offset in range(self.page):
                    token = i * self.page + offset
                    assert self.memory.kv.get((page, offset)) == prefix[: token + 2]
            if node.state is not None:
                assert self.kept(node.state) == prefix
        for request in self.running.values():
            pages = list(self.cache.refs.pages(request.row, 0, 10**6))
            assert self.memory.rows[request.row] == pages
            assert len(pages) == self.cache.geometry.pages_of(request.done)
            for i in range(request.done):
                assert self.memory.kv.get((pages[i // self.page], i % self.page)) == request.prefix(
                    i + 1
                )
            for slot in request.slots[:1]:
                assert self.memory.states.get(slot) == request.prefix(request.done)
        self.promises_are_kept()

    def promises_are_kept(self) -> None:
        for held in self.locked:
            found = self.cache.tree.peek(key_of(held.prefix))
            assert found.kv_len == len(held.prefix) - 1
            if held.state:
                assert found.usable_len == len(held.prefix) - 1

    def teardown(self) -> None:
        if not hasattr(self, "cache"):
            return
        for request in list(self.running.values()):
            self.leave(request, request.slots, request.row)
        while self.locked:
            self.let_go(0)
        self.all_is_well()
        cache = self.cache
        # Everything can be had again, one kind or the other.
        frames = cache.geometry.usable_frames
        assert cache.obtainable_tokens() == self.page * min(
            frames * cache.geometry.pages_per_frame, cache.frames.page_cap
        )
        cache.evict_tokens(10**6)
        assert (cache.frames.kv_pages, cache.frames.states) == (0, 0)
        assert cache.frames.free_frames == frames
        assert cache.tree.num_nodes == 0


@pytest.fixture(autouse=True)
def marks_in_short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that tells prompts apart by every 64th token would see none of them."""
    monkeypatch.setattr(Joint, "stride", 2)


@pytest.fixture
def server_machine() -> type[ServerMachine]:
    return ServerMachine


@pytest.fixture
def make_geometry() -> Callable[..., Geometry]:
    """`(page tokens, frames with the sink, pages per frame, states=True)`."""
    return geometry_of
