"""A recording of a cache of compressed states, run again."""

from __future__ import annotations

from pathlib import Path

from compressed_load import make_compressed, serve
from recorded_load import make_plain

from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.record.recording import Record, RecordingCache
from cachepawl.record.setup import setup_of
from cachepawl.record.wire import Start
from cachepawl.record.writer import Writer


def test_run_again_it_is_the_same_cache(tmp_path: Path) -> None:
    path, records = tmp_path / "log", list[Record]()
    plain = make_compressed()
    cache = RecordingCache(plain, records.append)
    assert serve(cache, 120) > 0
    writer = Writer(Start(str(path), b"salt", 1 << 40, 0.0, setup_of(plain, {}) | {"started": 0.0}))
    writer.add(records)
    writer.close(complete=True)
    rerun = Rerun(Log(path))
    for _ in rerun.run():
        pass
    assert rerun.divergence is None
    assert rerun.cache is not None
    rerun.cache.check(2)
    assert rerun.cache.stats() == plain.stats()
    assert rerun.cache.tree.render() == plain.tree.render()
    stats = plain.stats()
    assert stats["checkpoints_moved"] > 0
    assert stats["evicted_states"] > 0
    assert stats["checkpoints"] > stats["frames_checkpoint"] > 0


def test_the_dtype_is_in_the_log_only_where_there_is_one() -> None:
    assert setup_of(make_compressed(), {})["geometry"]["checkpoint_dtype"] == "int8"
    assert "checkpoint_dtype" not in setup_of(make_plain(), {})["geometry"]
