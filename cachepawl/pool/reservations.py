"""Pages kept behind a row's last run, as long as nobody else needs them."""

from __future__ import annotations

from cachepawl.pool.bits import ones, run_length
from cachepawl.pool.frame_pins import FramePins


class Reservations(FramePins):
    """At most one reservation a row, within one frame.  Its pages are free."""

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
