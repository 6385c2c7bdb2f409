"""Broken allocators: the state machine must catch every one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.errors import DoubleFree
from cachepawl.pool.bits import ones
from cachepawl.pool.frames import STATE, FrameAllocator
from cachepawl.types import Runs


class FreeForgetsToRefile(FrameAllocator):
    def _free_runs(self, runs: Runs, *, pinned: bool) -> None:
        self._refile = lambda frame: None  # type: ignore[method-assign]
        try:
            super()._free_runs(runs, pinned=pinned)
        finally:
            del self._refile


class FreeLeavesItsPins(FrameAllocator):
    def free_pinned(self, runs: Runs) -> None:
        self.free_pages(runs)


class BadFreeIsHalfDone(FrameAllocator):
    def _clear_bits(self, pieces: list[tuple[int, int, int]]) -> None:
        for piece in pieces:
            super()._clear_bits([piece])


class SlotFreedTwiceIsAccepted(FrameAllocator):
    def free_states(self, slots: tuple[int, ...] | list[int]) -> None:
        super().free_states(list(dict.fromkeys(slots)))


class UnpinDoesNothing(FrameAllocator):
    def unpin(self, runs: Runs) -> None:
        pass


class PinsPagesNotFrames(FrameAllocator):
    def _pin(self, frame: int, count: int) -> None:
        self._pinned[frame] += count
        self.pinned_pages += count


class FitsCountsBytesOnly(FrameAllocator):
    def fits(self, pages: int, states: int, evictable_states: int) -> bool:
        if pages > self.page_cap - self.pinned_pages:
            return False
        held = self.states - evictable_states
        room = (self.num_frames - 1 - held) * self.pages_per_frame - self.pinned_pages
        return states <= self.state_cap - held and pages + states * self.pages_per_frame <= room


class FitsForgetsTheStateCap(FrameAllocator):
    def fits(self, pages: int, states: int, evictable_states: int) -> bool:
        cap, self.state_cap = self.state_cap, 1 << 62
        answer = super().fits(pages, states, evictable_states)
        self.state_cap = cap
        return answer


class ObtainableForgetsStates(FrameAllocator):
    def obtainable_pages(self, evictable_states: int) -> int:
        return super().obtainable_pages(0)


class ReservedPagesAreLost(FrameAllocator):
    @property
    def available_pages(self) -> int:
        return super().available_pages - self._held_pages


class ReservationsOverlap(FrameAllocator):
    def _hold(self, row: int, frame: int, at: int, count: int) -> None:
        super()._hold(row, frame, at, count)
        self._held[frame] &= ~ones(count, at)


class ReservationOutlivesItsFrame(FrameAllocator):
    def _empty(self, frame: int) -> None:
        self.kv_frames -= 1
        self._release(frame)


class NothingIsTakenBack(FrameAllocator):
    def _take_back(self) -> None:
        pass


class TakenBackPagesStayHeld(FrameAllocator):
    def _take_back(self) -> None:
        held = list(self._held)
        super()._take_back()
        self._held = held


class AllocationIsNotAtomic(FrameAllocator):
    def alloc_pages(self, row: int, count: int, reserve: int = 0) -> Runs | None:
        have = min(count, self.available_pages)
        got = super().alloc_pages(row, have, reserve)
        if have == count:
            return got
        self.counters.page_refusals += 1
        self.counters.pages_handed -= have
        return None


class StatesFromTheBottom(FrameAllocator):
    def alloc_states(self, count: int) -> tuple[int, ...] | None:
        if count > self.available_states:
            return super().alloc_states(count)
        self.states += count
        return tuple(self._take(0, STATE) for _ in range(count))


class KvFromTheTop(FrameAllocator):
    def _take(self, end: int, kind: int) -> int:
        return super()._take(-1, kind)


class KindChangesAreForgotten(FrameAllocator):
    def clear(self) -> None:
        super().clear()
        self._last_kind = [0] * self.num_frames


class FullFrameStaysAfterItsPages(FrameAllocator):
    def _empty(self, frame: int) -> None:
        if self.kv_frames > 2:
            super()._empty(frame)


MUTANTS = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, FrameAllocator) and value is not FrameAllocator
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_is_caught(
    frames_machine: type, mutant: type[FrameAllocator], must_fail: Callable[..., None]
) -> None:
    broken = type("Broken", (frames_machine,), {"allocator": mutant})
    # Without taking back, the search for a free run leaves the frame.
    must_fail(broken, DoubleFree, IndexError, ValueError)
