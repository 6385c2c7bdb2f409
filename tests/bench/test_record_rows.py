"""The recorder's benchmark serves what it says, records it whole, and runs it again."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench_record import ANSWER, SUFFIXES, conversations, measure_requests


def test_requests_are_recorded_whole(tmp_path: Path) -> None:
    row = measure_requests(64, tmp_path, rounds=len(SUFFIXES))
    assert row["requests"] == sum(map(len, conversations())) == 256
    assert 0 < row["bytes.zst"] < row["bytes plain"]
    assert min(row["off_us"], row["on_us"], row["writer_us"]) > 0
    assert all(len(tokens) > 2048 + ANSWER for batch in conversations() for tokens in batch)
