"""Places for compressed states against plain sets."""

from __future__ import annotations

from collections.abc import Callable, Set

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cachepawl.errors import DoubleFree
from cachepawl.pool.checkpoints import CheckpointMove, CheckpointSlots
from cachepawl.pool.frames import CHECKPOINTS, FREE, KV, UNLIMITED, FrameAllocator
from cachepawl.types import Runs

PICKS = st.integers(0, 10**6)


class CheckpointMachine(RuleBasedStateMachine):
    """Checkpoints, whole states and pages share few frames."""

    slots_type: type[CheckpointSlots] = CheckpointSlots

    @initialize(
        frames=st.sampled_from([4, 6, 3, 8]),
        per_frame=st.sampled_from([3, 2, 4]),
        state_cap=st.none() | st.none() | st.integers(0, 4),
    )
    def build(self, frames: int, per_frame: int, state_cap: int | None) -> None:
        self.n = per_frame
        cap = UNLIMITED if state_cap is None else state_cap
        self.frames = FrameAllocator(frames, 2, state_cap=cap)
        self.slots = self.slots_type(self.frames, per_frame)
        self.held: set[int] = set()
        self.whole: list[int] = []
        self.pages: list[Runs] = []
        self.moved = 0

    def used(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for one in self.held:
            counts[one // self.n] = counts.get(one // self.n, 0) + 1
        return counts

    @rule(many=st.integers(1, 9))
    def alloc(self, many: int) -> None:
        for _ in range(many):
            self.alloc_one()

    def alloc_one(self) -> None:
        used, room = self.used(), self.frames.available_states
        kinds = self.frames.kind
        top = max((f for f, kind in enumerate(kinds) if kind == FREE), default=0)
        open_frames = {f: c for f, c in used.items() if c < self.n}
        got = self.slots.alloc()
        if not open_frames and not room:
            assert got is None
            return
        assert got is not None
        assert got not in self.held
        frame = got // self.n
        if open_frames:
            fullest = max(open_frames.values())
            assert frame == min(f for f, c in open_frames.items() if c == fullest)
        else:
            assert frame == top
        self.held.add(got)

    @precondition(lambda self: self.held)
    @rule(which=st.sets(st.integers(0, 23), min_size=1, max_size=12))
    def free(self, which: set[int]) -> None:
        left = sorted(self.held)
        gone = [left[i] for i in which if i < len(left)]
        self.slots.free(gone[::-1])
        self.held -= set(gone)

    @rule(wrong=st.integers(-3, 40), which=PICKS)
    def free_wrongly(self, wrong: int, which: int) -> None:
        good = sorted(self.held)[: which % 3]
        bad = [*good, good[0]] if good and which % 2 else [*good, wrong]
        if bad[-1] in self.held and bad[-1] not in good:
            return
        before = repr(vars(self.slots)), repr(self.frames.kind)
        with pytest.raises(DoubleFree):
            self.slots.free(bad)
        assert (repr(vars(self.slots)), repr(self.frames.kind)) == before

    @rule(which=PICKS, keep=st.booleans())
    def pack(self, which: int, keep: bool) -> None:
        used = self.used()
        kept = {sorted(used)[which % len(used)]} if keep and used else set()
        room = len(used) * self.n - len(self.held)
        moves = self.slots.start_pack(kept)
        partial = [c for f, c in used.items() if c < self.n and f not in kept]
        if room < self.n or not partial:
            assert moves == []
            return
        sources, targets = [m.source for m in moves], [m.target for m in moves]
        (left,) = {s // self.n for s in sources}
        assert left not in kept
        assert used[left] == len(moves) == min(partial)
        assert set(sources) == {one for one in self.held if one // self.n == left}
        assert self.held.isdisjoint(targets)
        assert {t // self.n for t in targets} <= set(used) - {left}
        assert self.frames.kind[left] == CHECKPOINTS
        self.slots.finish_pack(moves)
        self.held = self.held - set(sources) | set(targets)
        self.moved += len(moves)

    @rule(states=st.booleans())
    def others_take(self, states: bool) -> None:
        if states:
            self.whole += self.frames.alloc_states(1) or ()
        else:
            got = self.frames.alloc_pages(1, 2)
            self.pages += [got] if got else []

    @rule(states=st.booleans())
    def others_give(self, states: bool) -> None:
        if states and self.whole:
            self.frames.free_states([self.whole.pop()])
        elif not states and self.pages:
            self.frames.free_pinned(self.pages.pop())

    @rule(frame=st.integers(-2, 9))
    def give_a_wrong_frame(self, frame: int) -> None:
        if frame not in self.used():
            with pytest.raises(DoubleFree):
                self.frames.give_frame(frame)

    @precondition(lambda self: self.whole == [] and self.pages == [])
    @rule()
    def clear(self) -> None:
        self.frames.clear()
        self.slots.clear()
        self.held = set()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "slots"):
            return
        used = self.used()
        assert self.slots.violations() == []
        assert self.frames.violations() == []
        assert self.slots.count == len(self.held)
        assert self.slots.num_frames == len(used)
        assert self.slots.open == len(used) * self.n - len(self.held)
        assert self.slots.moved == self.moved
        assert self.frames.states == len(self.whole) + len(used)
        for frame in range(self.frames.num_frames):
            assert (self.frames.kind[frame] == CHECKPOINTS) == (frame in used)
            assert self.slots.in_frame(frame) == sorted(
                o for o in self.held if o // self.n == frame
            )


class LeastFullFirst(CheckpointSlots):
    def alloc(self) -> int | None:
        if not self._open:
            return super().alloc()
        self.count += 1
        return self._fill(self._open[-1][1])


class EmptyFramesAreKept(CheckpointSlots):
    def _vacate(self, checkpoint: int) -> None:
        frame, at = divmod(checkpoint, self.per_frame)
        used = self._used[frame]
        self._refile(frame, used, used & ~(1 << at))


class PacksIntoItself(CheckpointSlots):
    def _empty(self, frame: int) -> list[CheckpointMove]:
        leaving = self.in_frame(frame)
        return [CheckpointMove(one, self._fill(self._open[0][1])) for one in leaving]


class PacksTheFullest(CheckpointSlots):
    def _empty(self, frame: int) -> list[CheckpointMove]:
        return super()._empty(self._open[0][1])


class PacksWhatIsKept(CheckpointSlots):
    def start_pack(self, kept: Set[int]) -> list[CheckpointMove]:
        return super().start_pack(set())


class FreesTwice(CheckpointSlots):
    def free(self, checkpoints: tuple[int, ...] | list[int]) -> None:
        super().free(list(dict.fromkeys(checkpoints)))


def test_against_sets(must_pass: Callable[..., None]) -> None:
    must_pass(CheckpointMachine, runs=60, steps=25)


@pytest.mark.parametrize(
    "mutant",
    [
        LeastFullFirst,
        EmptyFramesAreKept,
        PacksIntoItself,
        PacksTheFullest,
        PacksWhatIsKept,
        FreesTwice,
    ],
)
def test_is_caught(mutant: type[CheckpointSlots], must_fail: Callable[..., None]) -> None:
    must_fail(type("Broken", (CheckpointMachine,), {"slots_type": mutant}), KeyError, ValueError)


def test_a_frame_that_held_checkpoints_is_cleared_before_it_holds_kv() -> None:
    frames = FrameAllocator(2, 2)
    slots = CheckpointSlots(frames, 2)
    one = slots.alloc()
    assert one is not None
    slots.free([one])
    frames.alloc_pages(1, 1)
    assert frames.kind == [1, KV]
    assert frames.turned_to_kv == [1]
    assert frames.counters.state_to_kv == 1
