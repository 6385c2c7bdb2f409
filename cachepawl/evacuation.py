"""Evacuation: pinned pages of badly filled frames are moved together, references and all.

    choose    frames to rid of pinned pages, a burst at most    `pool/evacuation.py`
    evict     until the other frames have open pages for them   the cache's own verb
    place     every page gets its new place                     `pool/evacuation.py`
    rewrite   rows, nodes and the tree's record name it
    carry     the caller copies the bytes and rewrites its own mirrors
    free      the old places are free

Only pinned pages are moved: eviction gives the others up, in the policy's order, and costs
no copy.  Pinned pages are reached from the running rows and the open receipts, so the cost
follows the work in flight, never the size of the cache.  What is done follows from the
cache's own state: the same calls move the same pages in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cachepawl.pool.evacuation import Sources, choose_sources, place, room_in, strangers
from cachepawl.pool.moves import Moves, RowPiece, touch
from cachepawl.pool.references import PageReferences
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Runs


class Admission(Enum):
    """Whether there is a way to admit a request."""

    OPEN = "it fits now, by eviction if need be"
    SOON = "pages were moved; ask again in the next step"
    CLOSED = "it does not fit, not even with all pinned pages moved together"


class Evacuated(NamedTuple):
    """What a burst did, for whoever holds the bytes and mirrors of the page ids."""

    moves: Moves
    rows: list[RowPiece]
    """What changed in the rows."""


Carry = Callable[[Evacuated], None]
"""Copies the pages, after all that reads or writes them now and before all that comes later.

When it returns, the old places may be handed out."""


def nothing_to_carry(done: Evacuated) -> None:
    """For a cache without bytes."""


class _Held(NamedTuple):
    """Whoever holds pages in some frames."""

    rows: list[int]
    nodes: list[Node]
    runs: list[Runs]
    """The rows' own pages and the nodes' pages, each page once."""


@dataclass(frozen=True)
class Evacuator:
    """Moves pinned pages of one cache."""

    tree: RadixTree
    refs: PageReferences
    evict_pages: Callable[[int], int]
    """Gives up at least so many evictable pages, and says how many."""
    most_reserved: int
    """Pages kept behind a moved row's last one at most."""
    carry: Carry

    def burst(self, wanted: int) -> int:
        """Rid up to `wanted` frames of pinned pages; returns the pages moved, 0 for no change."""
        frames = self.refs.frames
        sources, held = self._choose(wanted)
        if not sources.leave or not self._open_pages(sources.stay, sources.pages):
            return 0
        moves = place(frames, held.runs, sources)
        frames.start_moves(moves)
        for node in held.nodes:
            self.tree.move_pages(node, moves.rewrite(node.pages))
        changed = self.refs.rewrite_rows(held.rows, moves, self.most_reserved)
        # Rows below 0 are loads from the host: no device row mirrors them.
        self.carry(Evacuated(moves, [piece for piece in changed if piece.row >= 0]))
        frames.finish_moves(moves)
        return moves.pages

    def _choose(self, wanted: int) -> tuple[Sources, _Held]:
        """Frames to leave, and who holds pages there; frames with other pins are passed over."""
        frames = self.refs.frames
        barred: set[int] = set()
        while True:
            sources = choose_sources(frames, wanted, barred)
            held = self._holders(sources.leave)
            others = strangers(frames, sources, held.runs)
            if not others:
                return sources, held
            barred |= others

    def _holders(self, leave: frozenset[int]) -> _Held:
        full = self.refs.frames.pages_per_frame
        rows = self.refs.touching(leave)
        nodes = [n for n in self.tree.locked_nodes() if touch(n.pages.runs, leave, full)]
        return _Held(rows, nodes, [*self.refs.movable(rows), *(node.pages for node in nodes)])

    def _open_pages(self, frames: list[int], wanted: int) -> bool:
        """Evict until the frames have so many free pages.

        Twice as much at every turn, so that looking costs less than evicting.
        """
        least = 1
        while (missing := wanted - room_in(self.refs.frames, frames)) > 0:
            if not self.evict_pages(max(missing, least)):
                return False
            least = 2 * max(missing, least)
        return True
