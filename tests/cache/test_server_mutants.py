"""Broken caches: the server in miniature must notice every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.errors import CachepawlError
from cachepawl.evacuation import Admission, Evacuator
from cachepawl.policy.base import Kind, Victim, evict
from cachepawl.pool.frames import FrameAllocator
from cachepawl.pool.moves import Moves, RowPiece
from cachepawl.pool.references import PageReferences
from cachepawl.stores import make_store
from cachepawl.tree import Lock, Match, Node, RadixTree
from cachepawl.types import NO_PAGES, Key, Runs


class Broken(HybridPrefixCache):
    """Whose references, tree or frames are of another class."""

    references: type[PageReferences] = PageReferences
    tree_type: type[RadixTree] = RadixTree
    frames_type: type[FrameAllocator] = FrameAllocator

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tree = self.tree_type(
            self.geometry.page_tokens, has_states=self.geometry.state is not None
        )
        self.frames = self.frames_type(
            self.frames.num_frames,
            self.frames.pages_per_frame,
            page_cap=self.frames.page_cap,
            state_cap=self.frames.state_cap,
        )
        self.refs = self.references(self.frames)
        self.store, self.checkpoints = make_store(
            self.frames, self.tree, self.geometry.checkpoints_per_frame
        )


class PublishForgetsUnpin(Broken):
    class references(PageReferences):  # noqa: N801 - an attribute
        def publish(self, row: int, canonical: Runs, duplicates: Runs) -> None:
            entry = self.rows[row]
            self.frames.pin(entry.slice(entry.shared, canonical.count))
            super().publish(row, canonical, duplicates)


class RowKeepsItsDuplicates(Broken):
    class references(PageReferences):  # noqa: N801
        def publish(self, row: int, canonical: Runs, duplicates: Runs) -> None:
            super().publish(row, self.rows[row].slice(0, canonical.count), duplicates)


class DuplicatesAreLeaked(Broken):
    class references(PageReferences):  # noqa: N801
        def publish(self, row: int, canonical: Runs, duplicates: Runs) -> None:
            super().publish(row, canonical, NO_PAGES)


class PublishDropsTheTail(Broken):
    class references(PageReferences):  # noqa: N801
        def publish(self, row: int, canonical: Runs, duplicates: Runs) -> None:
            super().publish(row, canonical, duplicates)
            self.rows[row].count = canonical.count


class LockForgetsPin(Broken):
    class references(PageReferences):  # noqa: N801
        def pin(self, parts: tuple[Runs, ...]) -> None:
            pass


class EvictionLeaksPages(Broken):
    class references(PageReferences):  # noqa: N801
        def evicted(self, runs: Runs) -> None:
            self.tree_pages -= runs.count


class ReleaseFreesTooMuch(Broken):
    class references(PageReferences):  # noqa: N801
        def release(self, row: int, start: int, stop: int) -> None:
            super().release(row, start, stop)
            if start:
                self.frames.free_pages(self.rows[row].slice(start - 1, start))


class ReleaseForgetsWhatWasReleased(Broken):
    class references(PageReferences):  # noqa: N801
        def release(self, row: int, start: int, stop: int) -> None:
            super().release(row, start, stop)
            self.rows[row].released = self.rows[row].released[:1]


class FitsCountsBytesOnly(Broken):
    def fits(self, tokens: int, states: int) -> bool:
        frames = self.frames
        room = frames.obtainable_pages(self.tree.state_evictable)
        return self.geometry.pages_of(tokens) + states * frames.pages_per_frame <= room


class FitsForgetsThePrompt(Broken):
    def fits(self, tokens: int, states: int) -> bool:
        return super().fits(0, states)


class FitsNeverEvicts(Broken):
    def fits(self, tokens: int, states: int) -> bool:
        return self.frames.fits(self.geometry.pages_of(tokens), states, 0)


class EvictsInVain(Broken):
    def make_room_for_pages(self, pages: int) -> bool:
        while self.frames.available_pages < pages:
            if not self._evict_next(None):
                return False
        return True


class EvictsStatesInVain(Broken):
    def make_room_for_states(self, states: int) -> bool:
        while self.frames.available_states < states:
            if not self._evict_next(None):
                return False
        return True


class EvictionForgetsStates(Broken):
    def evict_victim(self, victim: Victim, by: str) -> None:
        freed = evict(self.tree, victim)
        self.refs.evicted(freed.pages)
        self.frames.free_states(freed.states[:1] if victim.kind == "state" else ())
        self.counters.evicted_tokens += freed.pages.count * self.geometry.page_tokens
        self.counters.evicted_states += len(freed.states)


class PolicyNeverNamesStates(Broken):
    def _evict_next(self, kind: Kind | None) -> bool:
        leaf = self.tree.kv_victim()
        if leaf is None:
            return False
        self.evict_victim(Victim(leaf, "kv"), self.policy.name)
        return True


class HitWithoutItsState(Broken):
    def match(self, key: Key, limit: int | None = None) -> Match:
        found = super().match(key, limit)
        if found.deepest.end > found.kv_len or (limit or 0) < found.kv_len:
            return found
        return found._replace(usable_len=found.kv_len, node=found.deepest)


class RowTakesTheWholePath(Broken):
    def open_row(self, row: int, node: Node, tokens: int) -> None:
        self.refs.open(row, self.tree.path_pages(node))


class RowOpensEmpty(Broken):
    def open_row(self, row: int, node: Node, tokens: int) -> None:
        self.refs.open(row, NO_PAGES)


class NamespaceIsLost(Broken):
    def publish(self, row: int, key: Key, depth: int, state: int | None) -> Published:
        return super().publish(row, Key(key.tokens), depth, state)


class PublishedStateIsCountedTwice(Broken):
    def publish(self, row: int, key: Key, depth: int, state: int | None) -> Published:
        done = super().publish(row, key, depth, state)
        self.row_states += done.state_taken
        return done


class DeclinedStateIsSaidToBeTaken(Broken):
    def publish(self, row: int, key: Key, depth: int, state: int | None) -> Published:
        return super().publish(row, key, depth, state)._replace(state_taken=state is not None)


class TakesStatesOneByOne(Broken):
    def try_states(self, count: int) -> tuple[int, ...] | None:
        one = [super(TakesStatesOneByOne, self).try_states(1) for _ in range(count)]
        return None if None in one else tuple(slot[0] for slot in one if slot)


class AllocationShrinks(Broken):
    def allocate(self, row: int, tokens: int) -> Runs:
        entry = self.refs.rows[row]
        missing = self.geometry.pages_of(tokens) - entry.count
        if missing < 0:
            self.refs.release(row, entry.count + missing, entry.count)
            return NO_PAGES
        return super().allocate(row, tokens)


class UnlockTwiceIsAccepted(Broken):
    def unlock(self, receipt: Lock) -> None:
        if receipt.owner is not None:
            super().unlock(receipt)


class ResetAsksNobody(Broken):
    def reset(self) -> None:
        self.row_states, before = 0, self.row_states
        rows, self.refs.rows = self.refs.rows, {}
        try:
            super().reset()
        finally:
            self.row_states, self.refs.rows = before, rows


class NothingIsEvacuated(Broken):
    def make_way(self, tokens: int, states: int) -> Admission:
        return Admission.OPEN if self.fits(tokens, states) else Admission.CLOSED


class EvacuatesBeforeItMust(Broken):
    def make_way(self, tokens: int, states: int) -> Admission:
        if self.fits(tokens, states):
            Evacuator(self.tree, self.refs, self._evict_pages, 4, self.carry).burst(1)
        return super().make_way(tokens, states)


class EvacuatesInVain(Broken):
    def make_way(self, tokens: int, states: int) -> Admission:
        way = super().make_way(tokens, states)
        if way is Admission.CLOSED:
            Evacuator(self.tree, self.refs, self._evict_pages, 4, self.carry).burst(1)
        return way


class MovedRowsAreForgotten(Broken):
    class references(PageReferences):  # noqa: N801
        def rewrite_rows(self, rows: list[int], moves: Moves, most_reserved: int) -> list[RowPiece]:
            return []


class MovedRowsAreNotReported(Broken):
    class references(PageReferences):  # noqa: N801
        def rewrite_rows(self, rows: list[int], moves: Moves, most_reserved: int) -> list[RowPiece]:
            super().rewrite_rows(rows, moves, most_reserved)
            return []


class OnlyOwnPagesAreReported(Broken):
    class references(PageReferences):  # noqa: N801
        def rewrite_rows(self, rows: list[int], moves: Moves, most_reserved: int) -> list[RowPiece]:
            pieces = super().rewrite_rows(rows, moves, most_reserved)
            return [p for p in pieces if p.position >= self.rows[p.row].shared]


class MovedNodesAreForgotten(Broken):
    class tree_type(RadixTree):  # noqa: N801
        __slots__ = ()

        def move_pages(self, node: Node, pages: Runs) -> None:
            pass


class OwnersOfMovedNodesAreForgotten(Broken):
    class tree_type(RadixTree):  # noqa: N801
        __slots__ = ()

        def move_pages(self, node: Node, pages: Runs) -> None:
            node.pages = pages


class OldPlacesAreLeaked(Broken):
    class frames_type(FrameAllocator):  # noqa: N801
        def finish_moves(self, moves: Moves) -> None:
            pass


class OldPlacesAreFreedFirst(Broken):
    class frames_type(FrameAllocator):  # noqa: N801
        def start_moves(self, moves: Moves) -> None:
            super().start_moves(moves)
            self.free_pinned(moves.sources)

        def finish_moves(self, moves: Moves) -> None:
            pass


class MovedPagesLoseTheirPins(Broken):
    class frames_type(FrameAllocator):  # noqa: N801
        def finish_moves(self, moves: Moves) -> None:
            super().finish_moves(moves)
            self.unpin(moves.targets)


def mutants() -> list[type[Broken]]:
    return [value for value in globals().values() if isinstance(value, type)
            and issubclass(value, Broken) and value is not Broken]  # fmt: skip


@pytest.mark.parametrize("mutant", mutants())
def test_is_noticed(
    server_machine: type, mutant: type[Broken], must_fail: Callable[..., None]
) -> None:
    must_fail(type("BrokenServer", (server_machine,), {"cache_type": mutant}), CachepawlError)
