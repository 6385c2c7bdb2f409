"""What a server in miniature did, recorded and run again: the same cache, call by call."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.record.recording import Record, RecordingCache
from cachepawl.record.setup import setup_of
from cachepawl.record.verbs import CALLS
from cachepawl.record.wire import Start
from cachepawl.record.writer import Writer

SPACE = re.compile(r" in b.*")
BY_THE_TIER = {"evict_victim", "unlock_unused"}
"""Called by the host tier alone, whose own calls are recorded."""
READ_ONLY = {"answer_limit", "fits", "obtainable_tokens", "room_for_one_request", "check", "stats"}


def rerun_of(cache: HybridPrefixCache, records: list[Record], part_bytes: int) -> Rerun:
    """The records through the real writer and reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        setup = {**setup_of(cache, {}), "started": 0.0}
        writer = Writer(Start(str(path), b"salt", part_bytes, time.monotonic() - 9.0, setup))
        for at in range(0, len(records), 50):
            writer._flushed = 0.0  # every batch is flushed, so parts can be small
            writer.add(records[at : at + 50])
        writer.close(complete=True)
        rerun = Rerun(Log(path))
        for _ in rerun.run():
            pass
        assert rerun.log.complete
    return rerun


def assert_same(cache: HybridPrefixCache, rerun: Rerun) -> None:
    """Not one bit of difference, but for what names a namespace and a token."""
    assert rerun.divergence is None
    assert rerun.cache is not None
    assert_same_cache(cache, rerun.cache)


def assert_same_cache(cache: HybridPrefixCache, again: HybridPrefixCache) -> None:
    again.check(2)
    assert again.stats() == cache.stats()
    assert SPACE.sub("", again.tree.render()) == SPACE.sub("", cache.tree.render())
    assert again.tree.clock == cache.tree.clock
    rows = [
        {row: (at.runs, at.shared, at.released) for row, at in c.refs.rows.items()}
        for c in (cache, again)
    ]
    assert rows[0] == rows[1]
    hidden = ("counters", "on_release", "turned_to_kv")
    one, other = (
        {k: v for k, v in vars(c.frames).items() if k not in hidden} for c in (cache, again)
    )
    assert one == other


def recording(base: type) -> type:
    """The machine over a recorded cache; when a run ends, it is run again."""

    class Recorded(base):  # type: ignore[misc]
        def cache_type(self, *args: Any, **options: Any) -> RecordingCache:
            self.records: list[Record] = []
            return RecordingCache(HybridPrefixCache(*args, **options), self.records.append)

        def teardown(self) -> None:
            if not hasattr(self, "cache"):
                return
            self.compare()
            super().teardown()
            self.compare()

        def compare(self) -> None:
            for part_bytes in (1 << 30, 3000):
                assert_same(self.cache, rerun_of(self.cache, self.records, part_bytes))

    return Recorded


def test_a_recording_run_again_is_the_same_cache(
    server_machine: type, must_pass: Callable[..., None]
) -> None:
    must_pass(recording(server_machine), runs=20, steps=20)


@pytest.mark.stress
def test_recordings_for_long(server_machine: type, must_pass: Callable[..., None]) -> None:
    must_pass(recording(server_machine), runs=1000, steps=60, fresh=True)


def test_every_verb_is_recorded_or_changes_nothing() -> None:
    """A verb that is added must not be forgotten here."""
    public = {
        name
        for name, value in vars(HybridPrefixCache).items()
        if callable(value) and not name.startswith("_")
    }
    assert public == set(CALLS) | READ_ONLY | BY_THE_TIER
    for name in CALLS:
        assert name in vars(RecordingCache)
    for name in READ_ONLY:
        assert name not in vars(RecordingCache)


def test_mutants_are_caught(server_machine: type, must_fail: Callable[..., None]) -> None:
    """A cache that decides otherwise than its recording, or a recording with a hole."""

    class Forgetful(recording(server_machine)):  # type: ignore[misc]
        def compare(self) -> None:
            kept = [r for i, r in enumerate(self.records) if i % 7 != 3 or r[0] != "match"]
            assert_same(self.cache, rerun_of(self.cache, kept, 1 << 30))

    must_fail(Forgetful)
