"""A frame allocator beside sets of pages: the state machine that several tests run.

`Naive` knows who has which page and nothing about runs, bitmaps or counters; what could
be had by eviction is found by taking everything evictable away and looking.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cachepawl.errors import DoubleFree
from cachepawl.pool.frames import FREE, KV, SINK, STATE, UNLIMITED, FrameAllocator
from cachepawl.types import Runs

ROWS = 3
PICKS = st.integers(0, 10**6)


class Naive:
    """Sets of pages by owner."""

    def __init__(self, frames: int, full: int, page_cap: int, state_cap: int) -> None:
        self.frames, self.full = frames, full
        self.page_cap, self.state_cap = page_cap, state_cap
        self.rows: dict[int, list[int]] = {}  # a request's own pages
        self.locked: set[int] = set()  # pages of locked nodes
        self.loose: set[int] = set()  # pages that eviction can free
        self.states: dict[int, bool] = {}  # slot -> whether eviction can free it
        self.last: dict[int, int] = {}  # frame -> what it held last
        self.to_state = self.to_kv = 0
        self.turned: list[int] = []
        self.released: list[int] = []

    @property
    def pinned(self) -> set[int]:
        return self.locked | set(chain.from_iterable(self.rows.values()))

    @property
    def pages(self) -> set[int]:
        return self.pinned | self.loose

    def frames_of(self, pages: set[int]) -> set[int]:
        return {page // self.full for page in pages}

    def kinds(self) -> list[int]:
        kv = self.frames_of(self.pages)
        return [
            SINK if f == 0 else STATE if f in self.states else KV if f in kv else FREE
            for f in range(self.frames)
        ]

    def free(self) -> list[int]:
        return [f for f, kind in enumerate(self.kinds()) if kind == FREE]

    def take(self, frame: int, kind: int) -> None:
        before, self.last[frame] = self.last.get(frame), kind
        if before == STATE and kind == KV:
            self.to_kv += 1
            self.turned.append(frame)
        elif before == KV and kind == STATE:
            self.to_state += 1

    def available_pages(self) -> int:
        holes = sum(self.full for kind in self.kinds() if kind in (FREE, KV)) - len(self.pages)
        return min(holes, self.page_cap - len(self.pages))

    def available_states(self) -> int:
        return min(len(self.free()), self.state_cap - len(self.states))

    def emptied(self) -> Naive:
        """What is left once everything evictable is gone."""
        bare = Naive(self.frames, self.full, self.page_cap, self.state_cap)
        bare.locked = self.pinned
        bare.states = {slot: False for slot, evictable in self.states.items() if not evictable}
        return bare


class FramesMachine(RuleBasedStateMachine):
    """Every verb, rightly and wrongly used; `allocator` may be a broken one."""

    allocator: type[FrameAllocator] = FrameAllocator

    @initialize(
        frames=st.sampled_from([4, 5, 6, 7, 3, 2, 1]),
        full=st.sampled_from([3, 4, 5, 2, 1]),
        page_cap=st.none() | st.none() | st.none() | st.integers(0, 14),
        state_cap=st.none() | st.none() | st.none() | st.integers(0, 3),
    )
    def build(self, frames: int, full: int, page_cap: int | None, state_cap: int | None) -> None:
        caps = tuple(UNLIMITED if cap is None else cap for cap in (page_cap, state_cap))
        self.naive = Naive(frames, full, *caps)
        self.real = self.allocator(frames, full, page_cap=caps[0], state_cap=caps[1])
        self.released: list[int] = []
        self.real.on_release = self.released.append
        self.handed = self.slots_handed = 0
        self.refused = [0, 0]
        self.peaks = [0, 0, 0]

    # Between the two

    def picture(self) -> str:
        """All there is to know but the counters."""
        ignored = ("counters", "on_release")
        return repr({k: v for k, v in vars(self.real).items() if k not in ignored})

    def unchanged(self, act: Callable[[], object]) -> None:
        before = self.picture()
        with pytest.raises(DoubleFree):
            act()
        assert self.picture() == before

    def some(self, pages: set[int] | list[int], which: int) -> list[int]:
        """A part of them, or all; in any order."""
        left = sorted(pages)
        if which % 3 == 0:
            return left
        start = which // 3 % (len(left) + 1)
        part = left[start : start + 1 + which // 30 % 6]
        return part[::-1] if which % 3 == 1 else part

    def note_release(self, before: list[int]) -> None:
        after = self.naive.kinds()
        self.naive.released += [
            f for f, (a, b) in enumerate(zip(before, after, strict=True)) if b == FREE != a
        ]

    # Pages

    @rule(row=st.integers(1, ROWS), count=st.integers(0, 9), reserve=st.integers(0, 6))
    def alloc_pages(self, row: int, count: int, reserve: int) -> None:
        naive, before = self.naive, self.picture()
        room, free, taken = naive.available_pages(), naive.free(), naive.pages
        assert self.real.available_pages == room
        got = self.real.alloc_pages(row, count, reserve)
        if count > room:
            assert got is None
            assert self.picture() == before
            self.refused[0] += 1
            return
        assert got is not None
        pages = list(got)
        assert len(pages) == len(set(pages)) == count
        assert taken.isdisjoint(pages)
        fresh = sorted(naive.frames_of(set(pages)) - naive.frames_of(taken))
        assert fresh == free[: len(fresh)]
        naive.rows.setdefault(row, []).extend(pages)
        for frame in fresh:
            naive.take(frame, KV)
        self.handed += count

    @precondition(lambda self: any(self.naive.rows.values()))
    @rule(row=st.integers(1, ROWS), which=PICKS)
    def free_of_a_row(self, row: int, which: int) -> None:
        gone = self.some(self.naive.rows.get(row, []), which)
        before = self.naive.kinds()
        self.real.free_pinned(Runs.of_pages(gone))
        self.naive.rows[row] = [p for p in self.naive.rows.get(row, []) if p not in gone]
        self.note_release(before)

    @precondition(lambda self: self.naive.loose)
    @rule(which=PICKS)
    def free_evictable(self, which: int) -> None:
        gone = self.some(self.naive.loose, which)
        before = self.naive.kinds()
        self.real.free_pages(Runs.of_pages(gone))
        self.naive.loose -= set(gone)
        self.note_release(before)

    @rule(which=PICKS, wrong=st.integers(-3, 40), pinned=st.booleans(), twice=st.booleans())
    def free_wrongly(self, which: int, wrong: int, pinned: bool, twice: bool) -> None:
        naive = self.naive
        good = self.some(naive.pinned if pinned else naive.loose, which)
        if twice and good:
            bad = [*good, good[0]]
        elif wrong not in naive.pages:
            bad = [*good, wrong]
        else:
            return
        free = self.real.free_pinned if pinned else self.real.free_pages
        self.unchanged(lambda: free(Runs.of_pages(bad)))

    # Pins: what a request publishes becomes the tree's, which locks and unlocks it

    @precondition(lambda self: any(self.naive.rows.values()))
    @rule(row=st.integers(1, ROWS), which=PICKS)
    def publish(self, row: int, which: int) -> None:
        part = self.some(self.naive.rows.get(row, []), which)
        self.real.unpin(Runs.of_pages(part))
        self.naive.rows[row] = [p for p in self.naive.rows.get(row, []) if p not in part]
        self.naive.loose |= set(part)

    @precondition(lambda self: self.naive.loose)
    @rule(which=PICKS)
    def pin(self, which: int) -> None:
        part = self.some(self.naive.loose, which)
        self.real.pin(Runs.of_pages(part))
        self.naive.loose -= set(part)
        self.naive.locked |= set(part)

    @precondition(lambda self: self.naive.locked)
    @rule(which=PICKS)
    def unpin(self, which: int) -> None:
        part = self.some(self.naive.locked, which)
        self.real.unpin(Runs.of_pages(part))
        self.naive.locked -= set(part)
        self.naive.loose |= set(part)

    @rule(row=st.integers(1, ROWS))
    def drop_reservation(self, row: int) -> None:
        self.real.drop_reservation(row)
        again = self.picture()
        self.real.drop_reservation(row)
        assert self.picture() == again

    # States

    @rule(count=st.integers(0, 4), evictable=st.booleans())
    def alloc_states(self, count: int, evictable: bool) -> None:
        naive, before = self.naive, self.picture()
        room, free = naive.available_states(), naive.free()
        assert self.real.available_states == room
        got = self.real.alloc_states(count)
        if count > room:
            assert got is None
            assert self.picture() == before
            self.refused[1] += 1
            return
        assert got == tuple(free[::-1][:count])
        for slot in got:
            naive.take(slot, STATE)
            naive.states[slot] = evictable
        self.slots_handed += count

    @precondition(lambda self: self.naive.states)
    @rule(which=PICKS)
    def free_states(self, which: int) -> None:
        gone = self.some(set(self.naive.states), which)
        before = self.naive.kinds()
        self.real.free_states(gone)
        for slot in gone:
            del self.naive.states[slot]
        self.note_release(before)

    @rule(which=PICKS, wrong=st.integers(-2, 9), twice=st.booleans())
    def free_states_wrongly(self, which: int, wrong: int, twice: bool) -> None:
        good = self.some(set(self.naive.states), which)
        if twice and good:
            self.unchanged(lambda: self.real.free_states([*good, good[0]]))
        elif wrong not in self.naive.states:
            self.unchanged(lambda: self.real.free_states((*good, wrong)))

    @precondition(lambda self: self.naive.states)
    @rule(which=PICKS)
    def lock_or_unlock_states(self, which: int) -> None:
        for slot in self.some(set(self.naive.states), which):
            self.naive.states[slot] = not self.naive.states[slot]

    # The whole

    @precondition(lambda self: self.naive.free() == [])
    @rule()
    def clear(self) -> None:
        self.real.clear()
        old = self.naive
        fresh = Naive(old.frames, old.full, old.page_cap, old.state_cap)
        for name in ("last", "to_state", "to_kv", "turned", "released"):
            setattr(fresh, name, getattr(old, name))
        self.naive = fresh

    @rule(pages=st.integers(0, 20), states=st.integers(0, 5), near=st.booleans())
    def evict_everything_and_try(self, pages: int, states: int, near: bool) -> None:
        naive, real = self.naive, self.real
        evictable = [slot for slot, can in naive.states.items() if can]
        most = real.obtainable_pages(len(evictable))
        trial = self.twin()
        trial.free_pages(Runs.of_pages(sorted(naive.loose)))
        trial.free_states(evictable)
        assert trial.available_pages == most
        if near:  # the border between what fits and what does not
            pages = max(0, most - states * naive.full + pages % 3 - 1)
        fits = real.fits(pages, states, len(evictable))
        works = trial.alloc_states(states) is not None and trial.alloc_pages(9, pages) is not None
        assert fits == works
        assert trial.violations() == []

    def twin(self) -> FrameAllocator:
        callback, self.real.on_release = self.real.on_release, None
        twin = copy.deepcopy(self.real)
        self.real.on_release = callback
        return twin

    # After every step

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "real"):
            return
        naive, real, kinds = self.naive, self.real, self.naive.kinds()
        before = self.picture()
        assert real.violations() == []
        assert self.picture() == before
        assert real.kind == kinds
        assert real.free_frames == kinds.count(FREE)
        assert real.kv_frames == kinds.count(KV)
        assert real.states == len(naive.states)
        assert real.kv_pages == len(naive.pages)
        assert real.pinned_pages == len(naive.pinned)
        assert real.pinned_frames == len(naive.frames_of(naive.pinned))
        assert real.available_pages == naive.available_pages()
        assert real.available_states == naive.available_states()
        assert real.stranded_pages == kinds.count(KV) * naive.full - len(naive.pages)
        for page in range(naive.frames * naive.full):
            assert real.is_used(page) == (page in naive.pages)
        for frame in range(naive.frames):
            inside = [page for page in naive.pages if page // naive.full == frame]
            assert real.pages_in_use(frame) == len(inside)
            assert real.pinned_in(frame) == len(naive.pinned.intersection(inside))
        self.agree_on_room()
        self.agree_on_reservations()
        self.agree_on_counters(kinds)

    def agree_on_room(self) -> None:
        naive, real = self.naive, self.real
        evictable = sum(naive.states.values())
        bare = naive.emptied()
        assert real.obtainable_pages(evictable) == bare.available_pages()
        whole, room = bare.available_states(), bare.available_pages()
        held = bare.kinds().count(KV) * naive.full - len(bare.pages)
        for states in range(naive.frames + 1):
            holes = held + (len(bare.free()) - states) * naive.full
            most = min(holes, room) if states <= whole else -1
            for pages in (0, 1, most - 1, most, most + 1, room + 1):
                if pages >= 0:
                    assert real.fits(pages, states, evictable) == (pages <= most)

    def agree_on_reservations(self) -> None:
        kept: set[int] = set()
        for start, stop in self.real._reserved.values():
            pages = set(range(start, stop))
            assert pages
            assert kept.isdisjoint(pages)
            assert self.naive.pages.isdisjoint(pages)
            assert len(self.naive.frames_of(pages)) == 1
            assert self.real.kind[self.real.frame_of(start)] == KV
            kept |= pages

    def agree_on_counters(self, kinds: list[int]) -> None:
        naive, counters = self.naive, self.real.counters
        self.peaks[0] = max(self.peaks[0], kinds.count(KV))
        self.peaks[1] = max(self.peaks[1], len(naive.states))
        stranded = kinds.count(KV) * naive.full - len(naive.pages)
        self.peaks[2] = max(self.peaks[2], stranded)
        assert (counters.kv_to_state, counters.state_to_kv) == (naive.to_state, naive.to_kv)
        assert (counters.pages_handed, counters.states_handed) == (self.handed, self.slots_handed)
        assert [counters.page_refusals, counters.state_refusals] == self.refused
        assert [
            counters.peak_kv_frames,
            counters.peak_states,
            counters.peak_stranded_pages,
        ] == self.peaks
        assert self.real.turned_to_kv == naive.turned
        assert sorted(self.released) == sorted(naive.released)


@pytest.fixture
def frames_machine() -> type[FramesMachine]:
    return FramesMachine
