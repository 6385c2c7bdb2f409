"""Which snapshot a request leaves; SGLang's side of it is stood in for, the cache is real."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

pytest.importorskip("sglang")

from cachepawl_launch.compressed_states import CompressedStates
from cachepawl_launch.states import Offer, SingleState, TrackedStates

PAGE, EVERY = 4, 16
"""Tokens of a page, and between two snapshots of an answer."""
SLOTS = {0: 3, 1: 5}
"""By tracking entry."""
ACTIVE = 7
SHAPES = Geometry(KvShape(1, 1, 8, 8, 2), StateShape(1, (), 2, (4, 4), 4), PAGE, 12)
WIDE = Geometry(KvShape(1, 1, 8, 8, 2), StateShape(1, (), 2, (8, 128), 4), PAGE, 12)
"""States that are worth compressing."""


class Pool:
    """Two tracking entries, as SGLang's."""

    def __init__(self, entries: int = 2) -> None:
        self.entries = entries

    def get_mamba_ping_pong_keep_idx(self, req: Any) -> int:
        return int(req.kv.mamba_last_track_idx)

    def get_mamba_ping_pong_other_idx(self, entry: int) -> int:
        return 1 - entry if self.entries == 2 else entry

    def tracking_slot(self, req: Any, entry: int) -> int:
        return SLOTS[entry]

    def active_slot(self, req: Any) -> int:
        return ACTIVE


def request(committed: int, newest: int, older: int | None, *, finished: bool = False) -> Any:
    """So many tokens are computed or being computed; snapshots at these depths, newest in 1."""
    kv = SimpleNamespace(
        kv_committed_len=committed,
        cache_protected_len=0,
        mamba_last_track_idx=1,
        mamba_last_track_seqlen=newest,
        mamba_prev_track_seqlen=older,
    )
    return SimpleNamespace(kv=kv, finished=lambda: finished)


def offered(req: Any, up_to: int, *, leaves: bool = True, entries: int = 2) -> tuple[int, int]:
    """Depth and slot of what it leaves; zeros for nothing."""
    cache = HybridPrefixCache(SHAPES, states_per_request=3)
    states = TrackedStates(cache, Pool(entries), PAGE, answers=EVERY)
    offer: Offer = states.offer(req, up_to, lambda depth: False, leaves)
    return offer.depth, offer.slot or 0


def test_the_newest_that_fits() -> None:
    assert offered(request(70, 64, 48), 68) == (64, SLOTS[1])


@pytest.mark.parametrize("committed", [64, 65, 79])
def test_the_older_where_the_newest_overshoots(committed: int) -> None:
    """Retracted, and matched again no deeper than `up_to`."""
    assert offered(request(committed, 64, 48), 50) == (48, SLOTS[0])
    assert offered(request(committed, 64, 48), 47) == (0, 0)
    assert offered(request(committed, 64, None), 50) == (0, 0)
    assert offered(request(committed, 64, 48), 50, entries=1) == (0, 0)


@pytest.mark.parametrize("committed", [80, 81])
def test_not_where_a_forward_writes_the_next_one(committed: int) -> None:
    """It takes the older one's place, and has done so or is about to."""
    assert offered(request(committed, 64, 48), 50) == (0, 0)
    assert offered(request(committed, 64, 48), 64) == (64, SLOTS[1])


def test_who_goes_on_keeps_it() -> None:
    assert offered(request(65, 64, 48), 50, leaves=False) == (0, 0)


def test_a_finished_one_as_before() -> None:
    assert offered(request(80, 64, 48, finished=True), 50) == (48, SLOTS[0])


# Memory that is all in use


class Full:
    """A cache of which running requests hold every frame as a state, and a way over it."""

    def __init__(self, kind: str) -> None:
        shapes = WIDE.with_checkpoints("int8") if kind == "compressed" else SHAPES
        self.cache = HybridPrefixCache(shapes, states_per_request=3)
        self.held: list[int] = []
        while (more := self.cache.try_states(1)) is not None:
            self.held += more
        pool: Any = Pool()
        if kind == "single":
            self.states: Any = SingleState(self.cache, pool, 1)
        else:
            self.states = TrackedStates(self.cache, pool, PAGE, answers=EVERY)
        if kind == "compressed":
            self.states = CompressedStates(self.cache, pool, self.states)

    def offer(self, *, has: bool = False) -> Offer:
        """What a running request offers at its newest snapshot."""
        offer: Offer = self.states.offer(request(64, 64, 48), 64, lambda depth: has, False)
        return offer

    @property
    def skipped(self) -> int:
        return self.cache.counters.checkpoints_skipped


KINDS = ("tracked", "single", "compressed")


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_without_room_is_skipped_and_counted(kind: str) -> None:
    full = Full(kind)
    assert len(full.held) >= 10
    before = full.cache.stats()
    for skipped in (1, 2):
        assert full.offer() == Offer(refused=64)
        assert full.skipped == skipped
    # Nothing was taken for it, so there is nothing to give back.
    full.states.settle(request(64, 64, 48), Offer(refused=64), False, False)
    full.cache.check(2)
    refusals = {"checkpoints_skipped": 0, "state_refusals": 0}
    assert full.cache.stats() | refusals == before | refusals


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_that_the_tree_has_is_not_counted(kind: str) -> None:
    full = Full(kind)
    assert full.offer(has=True) == Offer(64)
    assert full.skipped == 0


@pytest.mark.parametrize("kind", ["tracked", "compressed"])
def test_with_one_free_frame_it_is_offered(kind: str) -> None:
    full = Full(kind)
    full.cache.free_states([full.held.pop()])
    offer = full.offer()
    assert offer.depth == 64
    assert offer.slot is not None
    assert (offer.refused, full.skipped) == (0, 0)
    # And the next one finds none again, unless a frame holds several.
    if kind == "tracked":
        assert full.offer() == Offer(refused=64)
        assert full.skipped == 1
