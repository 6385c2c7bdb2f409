"""Both tiers of a server in miniature, recorded and run again: the same, call by call."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from test_recorded import assert_same, assert_same_cache
from tiered import CHORES, Made, Telling, run_seed, tiered

from cachepawl.cache import HybridPrefixCache
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.offload.tickets import LOAD, WRITE
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.record.recording import Record, RecordingCache
from cachepawl.record.recording_tier import RecordingTier, tier_sizes_of
from cachepawl.record.setup import setup_of
from cachepawl.record.verbs import TIER_CALLS
from cachepawl.record.wire import Start
from cachepawl.record.writer import Writer

READ_ONLY = {"check", "explain", "has_copy", "ready", "stats", "waits"}


class RecordedTelling(Telling, RecordingCache):
    """What the server drives: it is recorded, and tells the tier."""


def rerun_of(tier: HostTier, records: list[Record], part_bytes: int, *, cut: bool) -> Rerun:
    """The records through the real writer and reader; `cut`: without the first part."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        setup = {**setup_of(tier.device, {}, tier), "started": 0.0}
        writer = Writer(Start(str(path), b"salt", part_bytes, time.monotonic() - 9.0, setup))
        for at in range(0, len(records), 50):
            writer._flushed = 0.0  # every batch is flushed, so parts can be small
            writer.add(records[at : at + 50])
        writer.close(complete=True)
        if cut and (Path(folder) / "log.1").exists():
            path = Path(folder) / "log.1"
        rerun = Rerun(Log(path))
        for _ in rerun.run():
            pass
        assert rerun.log.complete
    return rerun


def under_way(tier: HostTier) -> list[Any]:
    return [
        (ticket.direction, ticket.copy, ticket.nbytes, ticket.depth, len(ticket.claims))
        for direction in (WRITE, LOAD)
        for ticket in tier.tickets.under_way[direction]
    ]


def hints(tier: HostTier) -> list[tuple[int, int]]:
    """What is known of copies of nodes that are there."""
    found = ((node, tier.copies.of(node)) for node in tier.device.tree.walk())
    return [(node.serial, there.serial) for node, there in found if there is not None]


def assert_same_tier(tier: HostTier, rerun: Rerun, *, whole: bool) -> None:
    """Not one bit of difference; `whole`: totals and serials too."""
    again = rerun.tier
    assert rerun.divergence is None
    assert again is not None
    again.check(2)
    assert tier_sizes_of(again) == tier_sizes_of(tier)
    assert under_way(again) == under_way(tier)
    assert again.failure == tier.failure
    assert len(again.loads._waits) == len(tier.loads._waits)
    assert again.writes.demand.frames == tier.writes.demand.frames
    if whole:
        assert_same(tier.device, rerun)
        assert_same_cache(tier.host, again.host)
        assert again.stats() == tier.stats()
        assert hints(again) == hints(tier)


def recorded(writing: str) -> Callable[[type], type]:
    """The machine of `tiered` over recorded tiers; when a run ends, it is run again."""

    def make(base: type) -> type:
        class Recorded(tiered(base, writing)):  # type: ignore[misc]
            chores = tuple(chore for chore in CHORES if chore[0] != "host_evict")
            """No server does that behind the tier's back, so it is not recorded."""
            resets = 0

            def make_cache(self, geometry: Any, **options: Any) -> Made:
                self.records: list[Record] = []
                put = self.records.append
                plain = HybridPrefixCache(geometry, **options)
                cache = RecordedTelling(plain, put)
                return cache, plain, lambda tier: RecordingTier(tier, put)

            def poll(self, which: int, letters: list[int]) -> None:
                super().poll(which, letters)
                if which % 5 == 0:
                    self.tier.note_sizes()

            def teardown(self) -> None:
                if not hasattr(self, "cache"):
                    return
                self.compare()
                self.tier.drain()
                self.end_rides()
                self.compare()
                super().teardown()

            def compare(self) -> None:
                for part_bytes in (1 << 30, 3000):
                    rerun = rerun_of(self.tier, self.records, part_bytes, cut=False)
                    assert_same_tier(self.tier, rerun, whole=True)
                late = rerun_of(self.tier, self.records, 3000, cut=True)
                assert late.divergence is None
                if late.tier is not None and late.made:
                    whole = late.log.header.part == 0
                    assert_same_tier(self.tier, late, whole=whole)
                    type(self).resets += not whole

        return Recorded

    return make


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_a_recording_run_again_is_the_same_tier(
    server_machine: type, must_pass: Callable[..., None], writing: str
) -> None:
    must_pass(recorded(writing)(server_machine), runs=4, steps=8)


def test_a_policy_that_learns_in_both_tiers(server_machine: type) -> None:
    class Learning(server_machine):  # type: ignore[misc]
        policy = "joint"

    for writing in ("write_through", "write_back"):

        class Seen(recorded(writing)(Learning)):  # type: ignore[misc]
            def compare(self) -> None:
                assert self.tier.host.policy.name == self.cache.policy.name == "joint"
                super().compare()

        for seed in range(6):
            run_seed(Seen, seed, 4)


def test_seeds(server_machine: type) -> None:
    """The same runs every time, in which everything that is recorded happens."""
    verbs: set[object] = set()
    for writing in WRITE_POLICIES:

        class Looking(recorded(writing)(server_machine)):  # type: ignore[misc]
            def teardown(self) -> None:
                super().teardown()
                verbs.update(record[0] for record in self.records)

        for seed in (*range(5), 30):  # the last has rides that come to their end
            run_seed(Looking, seed, 5)
    assert verbs >= set(TIER_CALLS) - {"host_reset", "host_yield_holds"}


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_behind_a_reset(server_machine: type, writing: str) -> None:
    """A recording without its start is exact from the next reset on."""
    machine = recorded(writing)(server_machine)
    dice = Random(3)
    server = machine()
    server.start_server(page=4, frames=8, full=3, states=1, caps=(None, None), tasks=[])
    for _ in range(4):
        for _ in range(3):
            server.work(dice.randrange(2**32))
        for row in list(server.running):
            server.finish(server.running[row], 0, publish=True)
        server.reset()
    for _ in range(3):
        server.work(dice.randrange(2**32))
    server.teardown()
    assert machine.resets


@pytest.mark.stress
@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_recorded_tiers_for_long(
    server_machine: type, must_pass: Callable[..., None], writing: str
) -> None:
    must_pass(recorded(writing)(server_machine), runs=100, steps=30, fresh=True)


def test_every_verb_is_recorded_or_changes_nothing() -> None:
    """A verb that is added must not be forgotten here."""
    public = {
        name
        for name, value in vars(HostTier).items()
        if callable(value) and not name.startswith("_")
    }
    assert public == {name.removeprefix("host_") for name in TIER_CALLS} | READ_ONLY
    for name in TIER_CALLS:
        assert name.removeprefix("host_") in vars(RecordingTier)
    for name in READ_ONLY:
        assert name not in vars(RecordingTier)


@pytest.mark.parametrize("verb", ["host_poll", "host_load", "host_settle", "host_match"])
def test_mutants_are_caught(
    server_machine: type, must_fail: Callable[..., None], verb: str
) -> None:
    """A recording with holes is no recording."""

    class Forgetful(recorded("write_through")(server_machine)):  # type: ignore[misc]
        def compare(self) -> None:
            at = [i for i, record in enumerate(self.records) if record[0] == verb][1::3]
            kept = [record for i, record in enumerate(self.records) if i not in at]
            rerun = rerun_of(self.tier, kept, 1 << 30, cut=False)
            assert_same_tier(self.tier, rerun, whole=True)

    must_fail(Forgetful)
