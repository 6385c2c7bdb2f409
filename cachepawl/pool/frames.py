"""The host's truth: which frame is whose and which of its pages are free.  No torch.

Any frame, wherever it lies, changes kind the moment it is empty; nothing moves on its
own (`start_moves` and `finish_moves` carry out what `evacuation` plans).
States take the highest free frame.  KV goes request-affine: a row (a request) fills
runs of its own, and the pages that follow its last run stay reserved for it until
somebody needs them.  New runs go to the fullest partly filled frame that has one
long enough, then to the lowest free frame, then into whatever holes there are.

A page is *pinned* while a request holds it or its tree node is locked.  A frame
without pinned pages can be emptied by eviction alone; the counters here say how
many frames and pages could be had that way without looking at the tree.

Every operation costs the runs it touches, never the number of frames.
"""

from __future__ import annotations

from collections.abc import Callable

from sortedcontainers import SortedList

from cachepawl.errors import ArgumentError, DoubleFree
from cachepawl.pool.bits import first_run, lowest_run, ones, run_length
from cachepawl.pool.counters import FrameCounters
from cachepawl.pool.moves import Moves
from cachepawl.types import Runs

FREE, SINK, KV, STATE = range(4)
KIND_NAMES = ("free", "sink", "kv", "state")
SCAN = 8
"""Partly filled frames looked at for a run before a free frame is taken."""
UNLIMITED = 1 << 62


class FrameAllocator:
    """Hands out KV pages and state slots from `num_frames` equal frames.

    Page id = frame * pages_per_frame + index; a state slot is its frame's number.
    Frame 0 is the sink and is never handed out.  `page_cap` and `state_cap` limit
    how much of either kind may be in use at once.
    """

    def __init__(
        self,
        num_frames: int,
        pages_per_frame: int,
        *,
        page_cap: int = UNLIMITED,
        state_cap: int = UNLIMITED,
    ) -> None:
        self.num_frames = num_frames
        self.pages_per_frame = pages_per_frame
        self.page_cap = page_cap
        self.state_cap = state_cap
        self.counters = FrameCounters()
        self._all = ones(pages_per_frame)
        self._last_kind = [FREE] * num_frames
        self.turned_to_kv: list[int] = []
        """Frames that held a state before; their bytes are zeroed before KV is read."""
        self.on_release: Callable[[int], None] | None = None
        """Debug: called with every frame that becomes free."""
        self.clear()

    def clear(self) -> None:
        """Everything free again.  The counters of kind changes go on."""
        n = self.num_frames
        self.kind = [SINK] + [FREE] * (n - 1)
        self._used = [0] * n  # bitmap of pages in use
        self._held = [0] * n  # bitmap of free pages reserved for a row
        self._count = [0] * n  # pages in use
        self._pinned = [0] * n  # pages in use that eviction cannot free
        self._free = SortedList(range(1, n))
        self._key = [0] * n  # its key in _partial, 0 when not there
        self._partial: SortedList[tuple[int, int]] = SortedList()  # (-pages taken, frame)
        self._reserved: dict[int, tuple[int, int]] = {}  # row -> pages [start, stop)
        self._still: dict[int, int] = {}  # frame -> its pages that a transfer reads or writes
        self.kv_pages = 0
        self.kv_frames = 0
        self.states = 0
        self.pinned_pages = 0
        self.pinned_frames = 0
        self._held_pages = 0

    # -- capacity ---------------------------------------------------------------

    @property
    def free_frames(self) -> int:
        return len(self._free)

    @property
    def stranded_pages(self) -> int:
        """Free pages inside frames that hold KV: no use for a state."""
        return self.kv_frames * self.pages_per_frame - self.kv_pages

    @property
    def available_pages(self) -> int:
        """Pages that an allocation can have now, without eviction."""
        room = self.stranded_pages + len(self._free) * self.pages_per_frame
        return min(room, self.page_cap - self.kv_pages)

    @property
    def available_states(self) -> int:
        """State slots that an allocation can have now, without eviction."""
        return min(len(self._free), self.state_cap - self.states)

    def obtainable_pages(self, evictable_states: int) -> int:
        """Pages that could be had by evicting everything evictable."""
        frames = self.num_frames - 1 - (self.states - evictable_states)
        room = frames * self.pages_per_frame - self.pinned_pages
        return min(room, self.page_cap - self.pinned_pages)

    def fits(self, pages: int, states: int, evictable_states: int) -> bool:
        """Whether `pages` and `states` could be had together by evicting everything evictable.

        Counts whole frames: a frame with one pinned page is no room for a state,
        whatever the byte count says.
        """
        if pages > self.page_cap - self.pinned_pages:
            return False
        if states > self.state_cap - (self.states - evictable_states):
            return False
        beside_pinned = self.pinned_frames * self.pages_per_frame - self.pinned_pages
        kv_frames = -(-max(0, pages - beside_pinned) // self.pages_per_frame)
        whole = len(self._free) + self.kv_frames - self.pinned_frames + evictable_states
        return states + kv_frames <= whole

    def fits_packed(self, pages: int, states: int, evictable_states: int) -> bool:
        """As `fits`, if pinned pages could be moved together as well.

        Frames with pages that stay still stay; the pages of all others fill whole frames.
        """
        if pages > self.page_cap - self.pinned_pages:
            return False
        if states > self.state_cap - (self.states - evictable_states):
            return False
        kv_frames = max(len(self._still), -(-(self.pinned_pages + pages) // self.pages_per_frame))
        return states + kv_frames <= self.num_frames - 1 - (self.states - evictable_states)

    def frames_to_unpin(self, states: int, evictable_states: int) -> int:
        """Frames that must lose their pinned pages before eviction alone makes so many slots."""
        whole = len(self._free) + self.kv_frames - self.pinned_frames + evictable_states
        return max(0, states - whole)

    # -- KV pages ---------------------------------------------------------------

    def alloc_pages(self, row: int, count: int, reserve: int = 0) -> Runs | None:
        """`count` pages for a row, pinned; None, and no change, when they are not there.

        `reserve` more pages behind them are kept for the row as long as nobody else
        needs them.
        """
        if count > self.available_pages:
            self.counters.page_refusals += 1
            return None
        runs: list[tuple[int, int]] = []
        missing = count - self._from_reservation(row, count, runs)
        if missing >= self.pages_per_frame:
            missing -= self._whole_frames(missing, runs)
        while missing > 0:
            first, got = self._next_run(row, missing, reserve)
            runs.append((first, got))
            missing -= got
        self.counters.pages_handed += count
        self._note_stranded()
        return Runs(runs)

    def _whole_frames(self, count: int, runs: list[tuple[int, int]]) -> int:
        """Free frames for as much of `count` as fills them, lowest first; returns the pages.

        `_next_run` would do the same: no partly filled frame has so many pages.
        """
        full = self.pages_per_frame
        whole = min(count // full, len(self._free))
        for _ in range(whole):
            frame = self._take(0, KV)
            self._used[frame] = self._all
            self._count[frame] = self._pinned[frame] = full
            runs.append((frame * full, full))
        self.kv_pages += whole * full
        self.pinned_pages += whole * full
        self.pinned_frames += whole
        return whole * full

    def _note_stranded(self) -> None:
        stranded = self.kv_frames * self.pages_per_frame - self.kv_pages
        if stranded > self.counters.peak_stranded_pages:
            self.counters.peak_stranded_pages = stranded

    def _from_reservation(self, row: int, count: int, runs: list[tuple[int, int]]) -> int:
        kept = self._reserved.get(row)
        if kept is None:
            return 0
        start, stop = kept
        got = min(count, stop - start)
        frame, at = divmod(start, self.pages_per_frame)
        # Reserved pages become used ones: the frame's place among the partial ones stays.
        self._held[frame] ^= ones(got, at)
        self._held_pages -= got
        self._use(frame, at, got)
        if got < stop - start:
            self._reserved[row] = (start + got, stop)
        else:
            del self._reserved[row]
        runs.append((start, got))
        return got

    def next_pages(self, rows: list[int]) -> list[int]:
        """One page of its reservation for every row, pinned; -1 for a row without one.

        A decode step of a large batch: the loop is `_from_reservation` for one page,
        unrolled.
        """
        full, reserved = self.pages_per_frame, self._reserved
        used, held, counts, pinned = self._used, self._held, self._count, self._pinned
        out = []
        for row in rows:
            kept = reserved.get(row)
            if kept is None:
                out.append(-1)
                continue
            start, stop = kept
            frame, at = divmod(start, full)
            bit = 1 << at
            held[frame] ^= bit
            used[frame] |= bit
            counts[frame] += 1
            if not pinned[frame]:
                self.pinned_frames += 1
            pinned[frame] += 1
            if start + 1 < stop:
                reserved[row] = (start + 1, stop)
            else:
                del reserved[row]
            out.append(start)
        got = len(out) - out.count(-1)
        self._held_pages -= got
        self.kv_pages += got
        self.pinned_pages += got
        self.counters.pages_handed += got
        return out

    def _next_run(self, row: int, count: int, reserve: int) -> tuple[int, int]:
        """One more run for the row, as long as possible up to `count`, and its reservation."""
        frame, at = self._place(count, reserve) if count <= self.pages_per_frame else (-1, -1)
        if frame < 0:
            if self._free:
                frame, at = self._take(0, KV), 0
                got = min(count, self.pages_per_frame)
            else:
                if not self._partial:
                    self._take_back()
                frame = self._partial[0][1]
                at, got = lowest_run(self._all & ~self._used[frame] & ~self._held[frame])
                got = min(got, count)
        else:
            got = count
        self._use(frame, at, got)
        extra = 0
        if reserve and got == count:
            extra = min(reserve, run_length(self.unreserved_mask(frame), at + got))
        if extra:
            self._hold(row, frame, at + got, extra)
        else:
            self._refile(frame)
        return frame * self.pages_per_frame + at, got

    def _place(self, count: int, reserve: int) -> tuple[int, int]:
        """The fullest frames with room enough, a few of them: a run long enough, or (-1, -1)."""
        for wanted in (count + reserve, count) if reserve else (count,):
            # Key -taken: from here on a frame has `wanted` open pages, if maybe not in one run.
            if wanted > self.pages_per_frame:
                continue
            start = self._partial.bisect_left((wanted - self.pages_per_frame, 0))
            for _, frame in self._partial.islice(start, start + SCAN):
                at = first_run(self._all & ~(self._used[frame] | self._held[frame]), wanted)
                if at >= 0:
                    return frame, at
        return -1, -1

    def _use(self, frame: int, at: int, count: int) -> None:
        """Mark free, unreserved pages of a KV frame as in use and pinned; `_refile` it after."""
        self._used[frame] |= ones(count, at)
        self._count[frame] += count
        self.kv_pages += count
        self._pin(frame, count)

    def _refile(self, frame: int) -> None:
        """Keep `_partial` the KV frames with open pages, by pages in use or reserved."""
        taken = self._count[frame] + self._held[frame].bit_count()
        key = -taken if self._count[frame] and taken < self.pages_per_frame else 0
        old = self._key[frame]
        if key != old:
            if old:
                self._partial.remove((old, frame))
            if key:
                self._partial.add((key, frame))
            self._key[frame] = key

    def free_pages(self, runs: Runs) -> None:
        """Give back unpinned pages (evicted from the tree).

        DoubleFree, and no change, if any is free already or named twice.
        """
        self._free_runs(runs, pinned=False)

    def free_pinned(self, runs: Runs) -> None:
        """Give back pages that a request held.  DoubleFree as above."""
        self._free_runs(runs, pinned=True)

    def _free_runs(self, runs: Runs, *, pinned: bool) -> None:
        pieces = self._pieces(runs)
        self._clear_bits(pieces)
        for frame, _, count in pieces:
            self._count[frame] -= count
            self._refile(frame)
            self.kv_pages -= count
            if pinned:
                self._pin(frame, -count)
            if not self._count[frame]:
                self._empty(frame)
        self._note_stranded()

    def _clear_bits(self, pieces: list[tuple[int, int, int]]) -> None:
        """Mark pages as free, all of them or none."""
        for i, (frame, at, count) in enumerate(pieces):
            bits = ones(count, at)
            known = 0 < frame < self.num_frames
            if not known or self._used[frame] & bits != bits:
                for earlier, start, length in pieces[:i]:
                    self._used[earlier] |= ones(length, start)
                first = frame * self.pages_per_frame + at
                what = KIND_NAMES[self.kind[frame]] if known else "none of ours"
                raise DoubleFree(
                    f"pages [{first}, {first + count}) of frame {frame} ({what}): not all in use"
                )
            self._used[frame] ^= bits

    def _pieces(self, runs: Runs) -> list[tuple[int, int, int]]:
        """The runs cut at frame borders: `(frame, first index, count)`."""
        out = []
        full = self.pages_per_frame
        for first, count in runs.runs:
            while count > 0:
                frame, at = divmod(first, full)
                here = min(count, full - at)
                out.append((frame, at, here))
                first += here
                count -= here
        return out

    # -- pins -------------------------------------------------------------------

    def pin(self, *parts: Runs) -> None:
        """Pages that were evictable no longer are."""
        self._shift_pins(parts, 1)

    def unpin(self, *parts: Runs) -> None:
        """Pages become evictable."""
        self._shift_pins(parts, -1)

    def _shift_pins(self, parts: tuple[Runs, ...], sign: int) -> None:
        """Add to the pins of every frame that the runs touch.  Locks of long paths end here."""
        full, pinned = self.pages_per_frame, self._pinned
        pages = frames = 0
        for runs in parts:
            pages += runs.count
            for frame, here in runs.by_frame(full):
                before = pinned[frame]
                pinned[frame] = after = before + sign * here
                if not before or not after:
                    frames += sign
        self.pinned_pages += sign * pages
        self.pinned_frames += frames

    def _pin(self, frame: int, count: int) -> None:
        before = self._pinned[frame]
        after = self._pinned[frame] = before + count
        self.pinned_pages += count
        self.pinned_frames += (after > 0) - (before > 0)

    # -- reservations -----------------------------------------------------------

    def _hold(self, row: int, frame: int, at: int, count: int) -> None:
        self.drop_reservation(row)
        self._held[frame] |= ones(count, at)
        self._held_pages += count
        self._refile(frame)
        start = frame * self.pages_per_frame + at
        self._reserved[row] = (start, start + count)

    def _unhold(self, row: int, frame: int, at: int, count: int) -> None:
        del self._reserved[row]
        self._held[frame] &= ~ones(count, at)
        self._held_pages -= count
        self._refile(frame)

    def drop_reservation(self, row: int) -> None:
        """The row wants nothing kept for it.  Safe when nothing is."""
        kept = self._reserved.get(row)
        if kept is not None:
            frame, at = divmod(kept[0], self.pages_per_frame)
            self._unhold(row, frame, at, kept[1] - kept[0])

    def _take_back(self) -> None:
        """Open the far half of the longest reservation; its row keeps the near one.

        Only when every free page is reserved.  Dropping more than is needed would
        scatter all other rows from then on.
        """
        row, (start, stop) = max(self._reserved.items(), key=lambda item: item[1][1] - item[1][0])
        self.counters.reservations_revoked += 1
        frame, at = divmod(start, self.pages_per_frame)
        self._unhold(row, frame, at, stop - start)
        if stop - start > 1:
            self._hold(row, frame, at, (stop - start) // 2)

    def reserve_behind(self, row: int, page: int, count: int) -> None:
        """Keep up to `count` free, unreserved pages behind a page for a row, and no others."""
        self.drop_reservation(row)
        frame, at = divmod(page, self.pages_per_frame)
        extra = min(count, run_length(self.unreserved_mask(frame), at + 1))
        if extra:
            self._hold(row, frame, at + 1, extra)

    # -- moves ------------------------------------------------------------------

    def hold_still(self, runs: Runs) -> None:
        """A transfer reads or writes these pages: their frames are not evacuated until `let_go`."""
        for frame, count in runs.by_frame(self.pages_per_frame):
            self._still[frame] = self._still.get(frame, 0) + count

    def let_go(self, runs: Runs) -> None:
        """The transfer has ended.  DoubleFree, and no change, for pages that were not held."""
        parts = runs.by_frame(self.pages_per_frame)
        for frame, count in parts:
            if self._still.get(frame, 0) < count:
                raise DoubleFree(f"{runs}: frame {frame} has {self._still.get(frame, 0)} held")
        for frame, count in parts:
            self._still[frame] -= count
            if not self._still[frame]:
                del self._still[frame]

    def is_still(self, frame: int) -> bool:
        """Whether a transfer holds pages of the frame where they are."""
        return frame in self._still

    def held_still(self) -> dict[int, int]:
        """Pages that transfers hold, by frame."""
        return dict(self._still)

    def start_moves(self, moves: Moves) -> None:
        """The targets are in use and pinned; the sources still are.  Copy, then `finish_moves`.

        Reservations give way.  ArgumentError, and no change, unless every source is pinned,
        or at least in use, and every target a different free page of a frame with KV.
        """
        pieces = [(*divmod(m.target, self.pages_per_frame), m.pages) for m in moves.every]
        self._refuse_targets(pieces)
        for first, count in moves.sources.runs:
            for page in (first, first + count - 1):
                if not self.is_used(page):
                    raise ArgumentError(f"page {page} is to be moved and is not in use")
        for frame, at, count in pieces:
            if self._held[frame] & ones(count, at):
                self._open_reservations(frame, at, count)
            self._use(frame, at, count)
            self._refile(frame)

    def _refuse_targets(self, pieces: list[tuple[int, int, int]]) -> None:
        seen: dict[int, int] = {}
        for frame, at, count in pieces:
            bits = ones(count, at)
            known = 0 < frame < self.num_frames and self.kind[frame] == KV
            if not known or (self._used[frame] | seen.get(frame, 0)) & bits or bits & ~self._all:
                first = frame * self.pages_per_frame + at
                raise ArgumentError(f"pages [{first}, {first + count}) are no free pages of a frame"
                                    f" with KV: nothing can be moved there")  # fmt: skip
            seen[frame] = seen.get(frame, 0) | bits

    def _open_reservations(self, frame: int, at: int, count: int) -> None:
        start = frame * self.pages_per_frame + at
        for row in [r for r, (a, b) in self._reserved.items() if a < start + count and start < b]:
            self.drop_reservation(row)

    def finish_moves(self, moves: Moves) -> None:
        """The copy is under way, before all that will be written later: the sources are free."""
        self.free_pinned(moves.sources)

    # -- states -----------------------------------------------------------------

    def alloc_states(self, count: int) -> tuple[int, ...] | None:
        """`count` state slots, highest frames first; None, and no change, on a shortage."""
        if count > self.available_states:
            self.counters.state_refusals += 1
            return None
        slots = tuple(self._take(-1, STATE) for _ in range(count))
        self.states += count
        self.counters.states_handed += count
        self.counters.peak_states = max(self.counters.peak_states, self.states)
        return slots

    def free_states(self, slots: tuple[int, ...] | list[int]) -> None:
        """Give slots back; DoubleFree, and no change, if one holds no state or is named twice."""
        for i, slot in enumerate(slots):
            if not 0 < slot < self.num_frames or self.kind[slot] != STATE or slot in slots[:i]:
                raise DoubleFree(f"state slot {slot} of {list(slots)}: holds no state")
        for slot in slots:
            self.states -= 1
            self._release(slot)

    # -- frames -----------------------------------------------------------------

    def _take(self, end: int, kind: int) -> int:
        """The lowest free frame (`end` 0) or the highest (-1), for a kind."""
        frame: int = self._free.pop(end)
        self.kind[frame] = kind
        last, self._last_kind[frame] = self._last_kind[frame], kind
        if kind == KV:
            self.kv_frames += 1
            if self.kv_frames > self.counters.peak_kv_frames:
                self.counters.peak_kv_frames = self.kv_frames
            if last == STATE:
                self.counters.state_to_kv += 1
                self.turned_to_kv.append(frame)
        elif last == KV:
            self.counters.kv_to_state += 1
        return frame

    def _empty(self, frame: int) -> None:
        """The last page of a KV frame is free: reservations in it lapse."""
        if self._held[frame]:
            low, high = frame * self.pages_per_frame, (frame + 1) * self.pages_per_frame
            for row in [r for r, (start, _) in self._reserved.items() if low <= start < high]:
                self.drop_reservation(row)
        self.kv_frames -= 1
        self._release(frame)

    def _release(self, frame: int) -> None:
        self.kind[frame] = FREE
        self._free.add(frame)
        if self.on_release is not None:
            self.on_release(frame)

    # -- looking ----------------------------------------------------------------

    def pages_in_use(self, frame: int) -> int:
        return self._count[frame]

    def pinned_in(self, frame: int) -> int:
        return self._pinned[frame]

    def free_mask(self, frame: int) -> int:
        """Free pages of a frame with KV, as bits."""
        return self._all & ~self._used[frame]

    def unreserved_mask(self, frame: int) -> int:
        """Free pages of a frame with KV that are reserved for nobody, as bits."""
        return self._all & ~(self._used[frame] | self._held[frame])

    def pinned_by_frame(self) -> list[tuple[int, int]]:
        """`(pinned pages, frame)` of every frame that has some, the fewest first."""
        return sorted((count, frame) for frame, count in enumerate(self._pinned) if count)

    def frame_of(self, page: int) -> int:
        return page // self.pages_per_frame

    def is_used(self, page: int) -> bool:
        frame, at = divmod(page, self.pages_per_frame)
        return bool(self._used[frame] >> at & 1)

    def violations(self) -> list[str]:
        """Counters against the bitmaps, one line a contradiction.  Read only; walks all frames."""
        kv = [f for f in range(self.num_frames) if self.kind[f] == KV]
        rest = [f for f in range(self.num_frames) if self.kind[f] != KV]
        held = self._reserved.values()
        full = self.pages_per_frame
        checks: dict[str, tuple[object, object]] = {
            "frames in all": (
                self.num_frames - 1,
                len(self._free) + self.kv_frames + self.states,
            ),
            "KV frames": (self.kv_frames, len(kv)),
            "states": (self.states, self.kind.count(STATE)),
            "free frames": (
                list(self._free),
                [f for f in range(self.num_frames) if self.kind[f] == FREE],
            ),
            "KV pages": (self.kv_pages, sum(self._used[f].bit_count() for f in kv)),
            "pages per frame": (self._count, [used.bit_count() for used in self._used]),
            "pages outside KV frames": (0, sum(self._used[f] | self._held[f] for f in rest)),
            "empty KV frames": ([], [f for f in kv if not self._count[f]]),
            "partial frames": (
                list(self._partial),
                sorted(
                    (-taken, f)
                    for f in kv
                    if (taken := (self._used[f] | self._held[f]).bit_count()) < full
                ),
            ),
            "pinned pages": (self.pinned_pages, sum(self._pinned)),
            "pinned frames": (self.pinned_frames, sum(p > 0 for p in self._pinned)),
            "frames with impossible pins": (
                [],
                [f for f in range(self.num_frames) if not 0 <= self._pinned[f] <= self._count[f]],
            ),
            "reserved pages": (self._held_pages, sum(h.bit_count() for h in self._held)),
            "reservations": (
                self._held_pages,
                sum(stop - start for start, stop in held),
            ),
            "frames held still without pages": ([], [f for f in self._still if not self._count[f]]),
            "reserved pages in use": (
                0,
                sum((u & h).bit_count() for u, h in zip(self._used, self._held, strict=True)),
            ),
        }
        return [f"I1 {name}: {a} != {b}" for name, (a, b) in checks.items() if a != b]
