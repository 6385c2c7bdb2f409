"""Who holds which page: request rows, the tree, nobody.  The only writer of that truth.

A row is the page list of one running request:

    pages  [0, shared)       the tree's, locked by the request's receipt
           [shared, count)   the request's own

    grow     allocate pages behind the last one
    publish  the row's pages up to a depth become the tree's
    release  own pages are given back; the row can only end after that
    close    the row ends; nothing of it may be left

The tree keeps the page ids of its nodes; what is pinned, evictable or free is
counted here and in the frame allocator, so evacuating a page has one place to ask.
"""

from __future__ import annotations

from cachepawl.errors import DoubleFree, InvariantError
from cachepawl.pool.frames import FrameAllocator
from cachepawl.pool.moves import Moves, RowPiece, touch
from cachepawl.types import NO_PAGES, Runs


class Row:
    """The pages of one request, in sequence order."""

    __slots__ = ("count", "released", "runs", "shared")

    def __init__(self, prefix: Runs) -> None:
        self.runs = [list(run) for run in prefix.runs]
        self.count = prefix.count
        self.shared = prefix.count
        self.released: list[tuple[int, int]] = []
        """Own page positions `[start, stop)` already given back."""

    def append(self, more: Runs) -> None:
        """Costs the runs added."""
        for first, count in more.runs:
            if self.runs and self.runs[-1][0] + self.runs[-1][1] == first:
                self.runs[-1][1] += count
            else:
                self.runs.append([first, count])
        self.count += more.count

    def append_page(self, page: int) -> None:
        """As `append`, for one page."""
        if self.runs and sum(self.runs[-1]) == page:
            self.runs[-1][1] += 1
        else:
            self.runs.append([page, 1])
        self.count += 1

    def slice(self, start: int, stop: int) -> Runs:
        """Pages at positions `[start, stop)`."""
        start, stop = max(start, 0), min(stop, self.count)
        out: list[tuple[int, int]] = []
        at = self.count
        for first, count in reversed(self.runs):
            at -= count
            if at < stop:
                low = start - at if start > at else 0
                out.append((first + low, (stop - at if stop - at < count else count) - low))
            if at <= start:
                break
        out.reverse()
        return Runs.merged(out, stop - start) if start < stop else NO_PAGES

    @property
    def last_page(self) -> int:
        first, count = self.runs[-1]
        return first + count - 1


class PageReferences:
    """All references to KV pages of one arena."""

    def __init__(self, frames: FrameAllocator) -> None:
        self.frames = frames
        self.rows: dict[int, Row] = {}
        self.tree_pages = 0
        self.row_pages = 0

    def clear(self) -> None:
        """Forget every row and every page of the tree; all frames are free."""
        self.frames.clear()
        self.rows.clear()
        self.tree_pages = self.row_pages = 0

    # -- rows ---------------------------------------------------------------------

    def open(self, row: int, prefix: Runs) -> None:
        """A request begins on the tree's pages `prefix`, which it has locked."""
        if row in self.rows:
            raise InvariantError(f"row {row} is open already with {self.rows[row].count} pages")
        self.rows[row] = Row(prefix)

    def live(self, row: int) -> Row:
        """The row, to grow or publish; InvariantError if it has given pages back."""
        entry = self.rows[row]
        if entry.released:
            raise InvariantError(f"I7 row {row} gave back pages {entry.released}: it can only end")
        return entry

    def grow(self, row: int, pages: int, reserve: int = 0) -> Runs | None:
        """`pages` new pages behind the row's last one; None, and no change, on a shortage."""
        if not pages:
            return NO_PAGES
        got = self.frames.alloc_pages(row, pages, reserve)
        if got is not None:
            self.rows[row].append(got)
            self.row_pages += pages
        return got

    def pages(self, row: int, start: int, stop: int) -> Runs:
        """The row's pages at positions `[start, stop)`."""
        return self.rows[row].slice(start, stop)

    def own_pages(self, row: int) -> int:
        """Pages that the row holds outside the tree."""
        entry = self.rows[row]
        own = entry.count - entry.shared
        for start, stop in entry.released:
            own -= stop - start
        return own

    def publish(self, row: int, canonical: Runs, duplicates: Runs) -> None:
        """The row's first `len(canonical)` pages are the tree's from now on.

        `duplicates` are those of the row's own pages that the tree had already: they
        are free again and the row uses the tree's instead.
        """
        entry = self.rows[row]
        own = entry.slice(entry.shared, canonical.count)
        self.row_pages -= own.count
        self.tree_pages += own.count - duplicates.count
        self.frames.unpin(own)
        if not duplicates.count:
            entry.shared = canonical.count
            return
        self.frames.free_pages(duplicates)
        fresh = Row(canonical)
        fresh.append(entry.slice(canonical.count, entry.count))
        self.rows[row] = fresh

    def release(self, row: int, start: int, stop: int) -> None:
        """Give back the row's own pages at positions `[start, stop)`."""
        entry = self.rows[row]
        stop = min(stop, entry.count)
        if start >= stop:
            return
        released = entry.released
        if start < entry.shared or (released and any(a < stop and start < b for a, b in released)):
            raise DoubleFree(
                f"row {row}: pages [{start}, {stop}) are not its own to free: the tree has "
                f"[0, {entry.shared}), freed before: {entry.released}"
            )
        entry.released.append((start, stop))
        self.row_pages -= stop - start
        self.frames.free_pinned(entry.slice(start, stop))

    def close(self, row: int) -> None:
        """The request is gone.  InvariantError when own pages are left."""
        left = self.own_pages(row)
        if left:
            raise InvariantError(f"I7 row {row} closes with {left} pages of its own")
        del self.rows[row]
        self.frames.drop_reservation(row)

    def cut(self, row: int, pages: int) -> None:
        """Give back what a row has beyond its first `pages` pages; it goes on without them."""
        entry = self.live(row)
        gone = entry.slice(max(pages, entry.shared), entry.count)
        kept = Row(entry.slice(0, entry.count - gone.count))
        kept.shared = entry.shared
        self.rows[row] = kept
        self.row_pages -= gone.count
        self.frames.free_pinned(gone)
        self.frames.drop_reservation(row)

    def rename(self, row: int, name: int) -> None:
        """The same pages under another number.  InvariantError if that is taken."""
        if name in self.rows:
            raise InvariantError(f"row {name} is open already with {self.rows[name].count} pages")
        self.rows[name] = self.rows.pop(row)
        self.frames.drop_reservation(row)

    # -- moves -----------------------------------------------------------------------

    def touching(self, frames: frozenset[int]) -> list[int]:
        """Rows with pages in one of the frames, own or the tree's, in the order they began."""
        full = self.frames.pages_per_frame
        return [row for row, entry in self.rows.items() if touch(entry.runs, frames, full)]

    def movable(self, rows: list[int]) -> list[Runs]:
        """The own pages of rows, row by row.  Rows that have begun to end are left out."""
        entries = [self.rows[row] for row in rows if not self.rows[row].released]
        return [entry.slice(entry.shared, entry.count) for entry in entries]

    def rewrite_rows(self, rows: list[int], moves: Moves, most_reserved: int) -> list[RowPiece]:
        """Rows name the new pages; returns what changed.

        A row whose last page moved keeps a reservation, at most `most_reserved` pages, behind
        its new place.  Costs the frames that the rows' runs touch.
        """
        changed: list[RowPiece] = []
        for row in rows:
            entry = self.rows[row]
            last = entry.last_page
            pieces = list(moves.pieces(entry.runs))
            changed += _differing(row, entry.runs, pieces)
            entry.runs = [list(run) for run in Runs((page, n) for _, page, n in pieces).runs]
            if entry.last_page != last and not entry.released:
                reserve = min(entry.count, most_reserved)
                self.frames.reserve_behind(row, entry.last_page, reserve)
        return changed

    # -- the tree's pages ----------------------------------------------------------

    def pin(self, parts: tuple[Runs, ...]) -> None:
        """Nodes of the tree were locked that were not."""
        self.frames.pin(*parts)

    def unpin(self, parts: tuple[Runs, ...]) -> None:
        """Nodes of the tree are no longer locked."""
        self.frames.unpin(*parts)

    def evicted(self, runs: Runs) -> None:
        """The tree let these pages go."""
        self.tree_pages -= runs.count
        self.frames.free_pages(runs)

    # -- checks ----------------------------------------------------------------------

    def counter_violations(self) -> list[str]:
        """I1 in O(1): every page in use has an owner."""
        owned, used = self.tree_pages + self.row_pages, self.frames.kv_pages
        if owned == used:
            return []
        return [f"I1 pages in use {used} != tree {self.tree_pages} + rows {self.row_pages}"]

    def violations(self, tree_runs: list[Runs]) -> list[str]:
        """I1 and I7 page by page, given the pages of every node.  Walks everything."""
        out = self.counter_violations() + self.frames.violations()
        owner: dict[int, str] = {}
        for runs in tree_runs:
            for page in runs:
                if owner.setdefault(page, "tree") != "tree" or not self.frames.is_used(page):
                    out.append(f"I7 page {page} of the tree is free or has two owners")
        tree_count = sum(runs.count for runs in tree_runs)
        if len(owner) != tree_count or tree_count != self.tree_pages:
            out.append(f"I7 {tree_count} pages in nodes, {len(owner)} different, "
                       f"{self.tree_pages} counted")  # fmt: skip
        for row, entry in self.rows.items():
            gone = {i for a, b in entry.released for i in range(a, b)}
            for i, page in enumerate(Runs((a, n) for a, n in entry.runs)):
                if i in gone:
                    continue
                if i < entry.shared:
                    wanted, found = "tree", owner.get(page, "nobody")
                else:
                    wanted = f"row {row}"
                    found = owner.setdefault(page, wanted)
                if found != wanted or not self.frames.is_used(page):
                    out.append(f"I7 page {page} at {i} of row {row}: {found}, not {wanted}")
        return out


def _differing(
    row: int, before: list[list[int]], pieces: list[tuple[int, int, int]]
) -> list[RowPiece]:
    """The pieces that are not where the row's runs had them.

    A piece lies within one run, for the runs were cut to make them.
    """
    out = []
    runs = iter(before)
    start = stop = first = 0
    for position, page, count in pieces:
        while position >= stop:
            first, length = next(runs)
            start, stop = stop, stop + length
        if first + position - start != page:
            out.append(RowPiece(row, position, page, count))
    return out
