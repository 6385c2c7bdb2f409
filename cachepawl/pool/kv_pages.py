"""KV pages: where a row's next run goes, and how pages come back.

A row fills runs of its own, and the pages that follow its last run stay reserved for it.
New runs go to the fullest partly filled frame that has one long enough, then to the lowest
free frame, then into whatever holes there are.
"""

from __future__ import annotations

from cachepawl.errors import DoubleFree
from cachepawl.pool.bits import first_run, lowest_run, ones, run_length
from cachepawl.pool.frame_table import KIND_NAMES, KV, SCAN
from cachepawl.pool.reservations import Reservations
from cachepawl.types import Runs


class KvPages(Reservations):
    """Allocation and release.  Every call costs the runs it touches."""

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

    def _empty(self, frame: int) -> None:
        """The last page of a KV frame is free: reservations in it lapse."""
        if self._held[frame]:
            low, high = frame * self.pages_per_frame, (frame + 1) * self.pages_per_frame
            for row in [r for r, (start, _) in self._reserved.items() if low <= start < high]:
                self.drop_reservation(row)
        self.kv_frames -= 1
        self._release(frame)
