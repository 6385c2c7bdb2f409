"""The served benchmark: scaled prompts keep what they have in common; both servers play them."""

from __future__ import annotations

import gzip
import json
from itertools import combinations
from pathlib import Path

import pytest
from tiny_replays import request, write_trace

from benchmarks.served.load import BLOCK, MOST_ANSWER, VOCABULARY, scaled
from benchmarks.served.run import ENTRY, STATE, STATES, STOCK, TOKENS, main
from cachepawl.policy import POLICIES

SCALE = 4
RUN = BLOCK * SCALE


def common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
                min(len(a), len(b)))  # fmt: skip


def test_scaled_prompts_share_what_the_trace_shares() -> None:
    words = [[w] * RUN for w in range(4)]
    texts = [words[0] + words[1] + words[2], words[0] + words[1] + words[3] + [9] * 50,
             words[3] + words[1], words[0]]  # fmt: skip
    jobs = scaled([request(text, 40 * i) for i, text in enumerate(texts)], SCALE, 1000, 10)
    assert [len(job.ids) for job in jobs] == [3 * BLOCK + 1, 3 * BLOCK + 12, 2 * BLOCK + 1,
                                              BLOCK + 1]  # fmt: skip
    assert [job.answer for job in jobs] == [1, 10, 20, 30]
    for (a, one), (b, other) in combinations(enumerate(jobs), 2):
        real = common(texts[a], texts[b]) // RUN * BLOCK
        # What is a request's own begins anew: by chance it may share a token or two.
        assert real <= common(one.ids, other.ids) <= real + 3
    assert all(token in VOCABULARY for job in jobs for token in job.ids)


def test_the_load_is_the_same_every_time_and_within_limits() -> None:
    requests = [request(list(range(length)), 10**6) for length in (3, 10, 5000, 100)]
    jobs = scaled(requests, SCALE, 100, 2)
    assert jobs == scaled(requests, SCALE, 100, 2)
    assert [len(job.ids) for job in jobs] == [2, 25]
    assert {job.answer for job in jobs} == {MOST_ANSWER}


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--traces", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no such trace" in capsys.readouterr().err


@pytest.mark.stress
@pytest.mark.server
def test_both_servers_play_the_same_load(tmp_path: Path) -> None:
    plain = write_trace(tmp_path / "plain.jsonl", requests=60)
    path = tmp_path / "mooncake/conversation_trace.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(plain.read_bytes()))
    words = ["--traces", str(tmp_path), "--trace", "conversation", "--requests", "48"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "served.json").read_text())
    rows = {row["server"]: row for row in found["cells"]}
    assert set(rows) == {STOCK, *POLICIES}
    assert found["memory_bytes"] == (TOKENS + 1) * ENTRY + (STATES + 1) * STATE
    for row in rows.values():
        assert row["requests"] == 48
        assert row["cached_tokens"] + row["recomputed_tokens"] == row["prompt_tokens"]
        assert row["prompt_tokens"] == rows[STOCK]["prompt_tokens"]
        assert row["cached_tokens"] >= rows[STOCK]["cached_tokens"] > 0
