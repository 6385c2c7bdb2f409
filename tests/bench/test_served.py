"""The served benchmark: scaled prompts keep what they have in common; both servers play them."""

from __future__ import annotations

import gzip
import json
from itertools import combinations
from pathlib import Path

import pytest
from tiny_replays import request, write_trace

from benchmarks.policy.contenders import DEFAULT_RATIO
from benchmarks.policy.inputs import GIB, TRACES, spec_of
from benchmarks.served import expected
from benchmarks.served.load import BLOCK, MOST_ANSWER, VOCABULARY, Job, scaled
from benchmarks.served.run import STOCK, main
from benchmarks.served.slices import MODEL, PAGE, SLICES, Slice
from cachepawl.errors import InvariantError
from cachepawl.offline.models import load_model
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
    jobs = scaled([request(text, 40 * i, 7.0 + i) for i, text in enumerate(texts)], SCALE, 1000, 10)
    assert [len(job.ids) for job in jobs] == [3 * BLOCK + 1, 3 * BLOCK + 12, 2 * BLOCK + 1,
                                              BLOCK + 1]  # fmt: skip
    assert [job.answer for job in jobs] == [1, 10, 20, 30]
    assert [job.at for job in jobs] == [0, 1, 2, 3]
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
    words = ["--traces", str(tmp_path), "--out", str(tmp_path), "--trace", "synthetic"]
    assert main(words) == 2
    assert "no such trace" in capsys.readouterr().err
    path = tmp_path / TRACES["synthetic"].path
    path.parent.mkdir()
    line = {"timestamp": 0, "input_length": 512 * 400, "output_length": 1,
            "hash_ids": [0] * 400}  # fmt: skip
    path.write_bytes(gzip.compress(json.dumps(line).encode()))
    assert main(words) == 2
    assert "none of its requests is in the slice" in capsys.readouterr().err


@pytest.mark.parametrize("size", SLICES.values(), ids=SLICES)
def test_a_slice_has_the_proportions_of_the_whole(size: Slice, tmp_path: Path) -> None:
    full = spec_of(MODEL)
    whole = full.state_bytes() / full.kv_bytes_per_token()
    assert size.full_state == pytest.approx(whole, rel=0.025)
    tiny = load_model(str(size.model(tmp_path))).spec
    assert (tiny.kv_bytes_per_token(), tiny.state_bytes()) == (size.entry, size.state)
    share = full.kv_bytes_per_token() * size.scale * size.one_in / size.entry
    # Both pools are whole numbers, and each has a padding one.
    beside = size.entry * PAGE + 2 * size.state
    assert size.memory_bytes == pytest.approx(size.device_gb * GIB / share, abs=beside)
    assert size.states * size.state == pytest.approx(DEFAULT_RATIO * size.tokens * size.entry,
                                                     abs=2 * size.state)  # fmt: skip


def test_a_replay_hits_what_fits_and_what_the_policy_keeps(tmp_path: Path) -> None:
    size = SLICES["claude-code"]
    jobs = [Job([n] * 4 * BLOCK + list(range(50)), 3, float(i)) for i, n in enumerate((1, 2, 1, 2))]
    model = size.model(tmp_path)
    assert expected.ours(size, model, "lru", jobs) == 2 * 4 * BLOCK
    one = size._replace(device_gb=size.device_gb / 12)
    assert expected.ours(one, model, "lru", jobs) < 2 * 4 * BLOCK
    wrong = size._replace(state=size.state + 4)
    with pytest.raises(InvariantError, match="other bytes"):
        expected.ours(wrong, model, "lru", jobs)


@pytest.mark.stress
@pytest.mark.server
def test_both_servers_play_the_same_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = SLICES["conversation"]
    whole = size._replace(one_in=1, device_gb=size.device_gb / size.one_in, speed=10)
    monkeypatch.setitem(SLICES, "conversation", whole)
    plain = write_trace(tmp_path / "plain.jsonl", requests=60)
    path = tmp_path / TRACES["conversation"].path
    path.parent.mkdir()
    path.write_bytes(gzip.compress(plain.read_bytes()))
    words = ["--traces", str(tmp_path), "--trace", "conversation", "--requests", "48"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "served.json").read_text())
    rows = {row["server"]: row for row in found["cells"]}
    assert set(rows) == {STOCK, *POLICIES}
    for row in rows.values():
        assert row["requests"] == 48
        assert row["cached_tokens"] + row["recomputed_tokens"] == row["prompt_tokens"]
        assert row["prompt_tokens"] == rows[STOCK]["prompt_tokens"]
        assert row["cached_tokens"] >= rows[STOCK]["cached_tokens"] > 0
        assert row["token_hit"] == pytest.approx(row["replayed_hit"], abs=0.1)
