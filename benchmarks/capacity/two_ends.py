"""Two ends of one buffer, with compaction: what SGLang's unified memory pool does, modelled.

KV pages grow from the low end, states from the high end, each behind a virtual id.  Read in
`sglang/srt/mem_cache/allocator/unified_sub_pool.py` of 0.5.23 (lazy compaction):

- what is freed becomes a hole of its own end; an allocation takes the holes nearest to its end
  first and moves the frontier for the rest;
- when the gap between the frontiers is too small, the *other* end is packed completely: holes
  at its frontier are given back, then what lies highest moves into the lowest hole until there
  are none.  Its own holes are no obstacle, for they can be used;
- admission counts gap and holes of both ends: all of it can be had.

Left out, all in its favour: packing at idle moments, pages that a running forward holds, and
the alignment of the ends.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from benchmarks.capacity.workload import STATES, Arrival
from cachepawl.pool.geometry import Geometry


class End:
    """One end: places 0, 1, 2, ... counted from it, some of them holes."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.frontier = 0  # the first place never used, or given back
        self.holes: list[int] = []  # heap
        self.place_of: dict[int, int] = {}
        self.owner_at: dict[int, int] = {}
        self._next_id = 0

    @property
    def bytes_spanned(self) -> int:
        return self.frontier * self.unit

    def missing(self, count: int) -> int:
        """Places by which the frontier has to move for `count` more."""
        return max(0, count - len(self.holes))

    def take(self, count: int) -> list[int]:
        """Virtual ids of `count` more."""
        out = []
        for _ in range(count):
            if self.holes:
                place = heapq.heappop(self.holes)
            else:
                place = self.frontier
                self.frontier += 1
            self._next_id += 1
            self.place_of[self._next_id] = place
            self.owner_at[place] = self._next_id
            out.append(self._next_id)
        return out

    def give(self, ids: list[int]) -> None:
        for one in ids:
            place = self.place_of.pop(one)
            del self.owner_at[place]
            heapq.heappush(self.holes, place)

    def pack(self) -> int:
        """Close all holes; returns how many places were moved."""
        moves = 0
        while self.holes and self.frontier:
            top = self.frontier - 1
            owner = self.owner_at.pop(top, None)
            self.frontier = top
            if owner is None:
                continue  # a hole at the frontier, dropped from the heap at the end
            place = heapq.heappop(self.holes)
            if place > top:
                self.owner_at[top] = owner
                self.frontier = top + 1
                break
            self.owner_at[place] = owner
            self.place_of[owner] = place
            moves += 1
        self.holes = []
        return moves


class TwoEnds:
    """Both ends over one budget, and the oldest of what is cached."""

    name = "two ends"

    def __init__(self, geometry: Geometry, budget: int) -> None:
        self._budget = budget
        self._kv, self._states = End(geometry.page_bytes), End(geometry.state_bytes)
        self._running: dict[int, tuple[list[int], list[int]]] = {}
        self._cached: OrderedDict[int, tuple[list[int], list[int]]] = OrderedDict()
        self._cached_bytes = 0
        self.bytes_moved = 0
        self.worst_burst_bytes = 0

    def live_bytes(self) -> int:
        kv, states = self._kv, self._states
        return len(kv.place_of) * kv.unit + len(states.place_of) * states.unit

    def admit(self, request: Arrival, owed: int) -> bool:
        kv, states = self._kv.unit, self._states.unit
        room = self._budget - self.live_bytes() + self._cached_bytes
        if (owed + request.pages) * kv + STATES * states > room:
            return False
        own_states = self._take(self._states, self._kv, STATES)
        pages = self._take(self._kv, self._states, request.prompt)
        self._running[request.number] = pages, own_states
        return True

    def grow(self, numbers: list[int]) -> None:
        for number in numbers:
            self._running[number][0].extend(self._take(self._kv, self._states, 1))

    def finish(self, number: int, *, keep: bool) -> None:
        pages, states = self._running.pop(number)
        if not keep:
            self._kv.give(pages)
            self._states.give(states)
            return
        self._states.give(states[1:])
        self._cached[number] = pages, states[:1]
        self._cached_bytes += self._bytes(pages, states[:1])

    def _bytes(self, pages: list[int], states: list[int]) -> int:
        return len(pages) * self._kv.unit + len(states) * self._states.unit

    def _take(self, end: End, other: End, count: int) -> list[int]:
        """Evict until the bytes are there, then move the frontier, packing the other end."""
        while self._budget - self.live_bytes() < count * end.unit:
            _, (pages, states) = self._cached.popitem(last=False)
            self._cached_bytes -= self._bytes(pages, states)
            self._kv.give(pages)
            self._states.give(states)
        if not self._reaches(end, other, count):
            moved = other.pack() * other.unit
            self.bytes_moved += moved
            self.worst_burst_bytes = max(self.worst_burst_bytes, moved)
        while not self._reaches(end, other, count):
            # Bytes enough, and still less than the next whole place: evict one more.
            _, (pages, states) = self._cached.popitem(last=False)
            self._cached_bytes -= self._bytes(pages, states)
            self._kv.give(pages)
            self._states.give(states)
            moved = other.pack() * other.unit
            self.bytes_moved += moved
            self.worst_burst_bytes = max(self.worst_burst_bytes, moved)
        return end.take(count)

    def _reaches(self, end: End, other: End, count: int) -> bool:
        more = end.missing(count) * end.unit
        return end.bytes_spanned + more + other.bytes_spanned <= self._budget
