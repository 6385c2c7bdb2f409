"""The bookkeeping of SGLang's unified memory pool: two ends of one buffer, with compaction.

States grow from the low end, KV pages from the high end, each behind a virtual id.  It is that of
`MultiEndedAllocator` in `sglang/srt/mem_cache/allocator/unified_sub_pool.py` of 0.5.23 with lazy
compaction, the default; `tests/bench/test_two_ends_sglang.py` holds every step against it:

- what is freed becomes a hole of its own end; an allocation takes the holes nearest to its end
  first and moves the frontier for the rest;
- when the gap between the frontiers is too small, the *other* end is packed completely: holes
  at its frontier are given back, then what lies highest moves into the lowest hole until there
  are none.  Its own holes are no obstacle, for they can be used;
- so what fits is what the bytes allow: the gap and the holes of both ends;
- below the states lies the padding sink, as large as a page or a state, in whole states; above the
  KV lies what is less than a page.

Left out, in its favour: the wait for the running forward before a pack, which costs time and no
move; packing when nothing runs and nothing waits, or when an option has it between two prefills,
which moves more in all (in this benchmark there is no such moment).
"""

from __future__ import annotations

from cachepawl.pool.geometry import Geometry, align


class End:
    """One end: places 0, 1, 2, ... counted from it, some of them holes."""

    def __init__(self, unit: int, *, at_top: bool = False) -> None:
        """`at_top`: places are counted downwards, and SGLang numbers what it takes upwards."""
        self.unit = unit
        self.frontier = 0  # the first place never used, or given back
        self.holes: list[int] = []
        self.place_of: dict[int, int] = {}
        self.owner_at: dict[int, int] = {}
        self._at_top = at_top
        self._next_id = 0

    @property
    def bytes_spanned(self) -> int:
        return self.frontier * self.unit

    @property
    def live_bytes(self) -> int:
        return len(self.place_of) * self.unit

    def missing(self, count: int) -> int:
        """Places by which the frontier has to move for `count` more."""
        return max(0, count - len(self.holes))

    def take(self, count: int) -> list[int]:
        """Virtual ids of `count` more."""
        places = self._from_holes(min(count, len(self.holes)))
        fresh = range(self.frontier, self.frontier + count - len(places))
        self.frontier = fresh.stop
        places += reversed(fresh) if self._at_top and not places else fresh
        ids = list(range(self._next_id, self._next_id + count))
        self._next_id += count
        self.place_of.update(zip(ids, places, strict=True))
        self.owner_at.update(zip(places, ids, strict=True))
        return ids

    def _from_holes(self, count: int) -> list[int]:
        """The holes nearest to the end; all of them as they were freed, for then none is chosen."""
        if count == len(self.holes):
            taken, self.holes = self.holes, []
            return taken
        self.holes.sort(reverse=self._at_top)
        nearest = slice(len(self.holes) - count, None) if self._at_top else slice(count)
        taken = self.holes[nearest]
        del self.holes[nearest]
        return taken

    def give(self, ids: list[int]) -> None:
        places = [self.place_of.pop(one) for one in ids]
        for place in places:
            del self.owner_at[place]
        self.holes += places

    def pack(self) -> int:
        """Close all holes; returns how many places were moved."""
        live = self.frontier - len(self.holes)
        inside = sorted(hole for hole in self.holes if hole < live)
        above = range(self.frontier - 1, live - 1, -1)
        movers = [self.owner_at.pop(place) for place in above if place in self.owner_at]
        for owner, place in zip(movers, inside, strict=True):
            self.place_of[owner] = place
            self.owner_at[place] = owner
        self.frontier, self.holes = live, []
        return len(movers)


class Ends:
    """Both ends of one buffer, and what their packing has moved."""

    def __init__(self, geometry: Geometry, budget: int) -> None:
        """`budget`: bytes of the buffer, the padding sink included."""
        page, state = geometry.page_bytes, geometry.state_bytes
        sink = align(max(page, state), state)
        self.budget = budget // page * page - sink
        self.states = End(state)
        self.kv = End(page, at_top=True)
        self.bytes_moved = 0
        self.worst_burst_bytes = 0

    def free_bytes(self) -> int:
        return self.budget - self.kv.live_bytes - self.states.live_bytes

    def fits(self, end: End, count: int) -> bool:
        """Whether there is room for `count` more, if need be after packing the other end."""
        return count * end.unit <= self.free_bytes()

    def take(self, end: End, count: int) -> list[int]:
        """Ids of `count` more, which fit."""
        other = self.states if end is self.kv else self.kv
        spanned = end.bytes_spanned + other.bytes_spanned
        if spanned + end.missing(count) * end.unit > self.budget:
            moved = other.pack() * other.unit
            self.bytes_moved += moved
            self.worst_burst_bytes = max(self.worst_burst_bytes, moved)
        return end.take(count)

    def give(self, end: End, ids: list[int]) -> None:
        end.give(ids)
