"""The real server records itself; its log, run again, has the server's own hits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cells import CHUNK, LIMITS, Cell
from conftest import ARENA
from harness import Client, running, tokens
from observed import SALT, Observed
from zstandard import ZstdDecompressor

from cachepawl.offline.map.recorded import picture_at
from cachepawl.offline.recorded.explain import explain_recorded
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.requests import RecordedRequest, arrivals, requests_of
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.record.hashes import make_salt, name_hash

SECRET = list(range(7, 207, 2))
"""A prompt that is easy to look for."""


def ask(client: Client, ids: list[int], name: str, new: int) -> tuple[int, int]:
    """Cached tokens and tokens of the answer."""
    body = {
        "input_ids": ids,
        "rid": name,
        "sampling_params": {"temperature": 0, "max_new_tokens": new, "ignore_eos": True},
    }
    reply = requests.post(f"{client.base}/generate", json=body, timeout=300)
    reply.raise_for_status()
    meta = reply.json()["meta_info"]
    assert meta["id"] == name
    return meta["cached_tokens"], meta["completion_tokens"]


def load(client: Client) -> dict[str, tuple[int, int]]:
    """Conversations side by side, more than fits, an abort, a flush; what was answered."""
    stems = [tokens(i, 180 + 40 * i) for i in range(3)]
    answers: dict[str, tuple[int, int]] = {}

    def converse(number: int) -> None:
        ids = stems[number % 3] + tokens(100 + number, 20 + 9 * number)
        for turn in range(3):
            name = f"c{number}.{turn}"
            answers[name] = ask(client, ids, name, 6 + 40 * (number % 4 == 0))
            ids = ids + tokens(200 + 10 * number + turn, 33)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(converse, range(12)))
    body = {
        "input_ids": tokens(70, 200),
        "rid": "gone",
        "sampling_params": {"temperature": 0, "max_new_tokens": 1500, "ignore_eos": True},
        "stream": True,
    }
    with requests.post(f"{client.base}/generate", json=body, stream=True, timeout=60) as reply:
        lines = reply.iter_lines()
        for _ in range(6):
            next(lines)
    client.wait_idle()
    client.flush()
    answers["secret"] = ask(client, SECRET, "secret", 4)
    answers["again"] = ask(client, SECRET, "again", 4)
    return answers


def serve(client: Client) -> tuple[dict[str, tuple[int, int]], list[dict[str, Any]]]:
    """The load, and more prompts than fit, twice: what was answered, and said of the latest."""
    answers, count = load(client), 16
    for i in range(2 * count):
        answers[f"s{i}"] = ask(client, tokens(300 + i % count, 400), f"s{i}", 4)
    client.wait_idle()
    return answers, client.pawl()["requests"]


@pytest.mark.stress
def test_the_log_has_both_tiers(tmp_path: Path) -> None:
    """A host tier, and a device that is too small: hits of both, run again, are the server's.

    So is what it says of misses, by a policy that learns.
    """
    cell, path = Cell("nemotron_h", 16), tmp_path / "trace.zst"
    more = [
        *(*ARENA, "--cachepawl-host-gb", "12x", "--cachepawl-trace", str(path)),
        *("--cachepawl-trace-salt", SALT, "--cachepawl-trace-mb", "0.01"),
        *("--cachepawl-policy", "joint"),
    ]
    prompts = {f"p{i}": tokens(700 + i, 300) for i in range(40)}
    with running(cell.family, cell.page, tmp_path, limits=LIMITS, more=more) as live:
        answers = load(live.client)
        from_host: dict[str, int] = {}
        for turn in range(2):
            for name, ids in prompts.items():
                found = live.client.generate(ids, rid=f"{name}.{turn}")
                answers[f"{name}.{turn}"] = found.cached, len(found.ids)
                from_host[f"{name}.{turn}"] = found.from_host
        stats = live.client.wait_idle()
        said = live.client.pawl()["requests"]
        time.sleep(2.5)  # the last second is flushed
    rerun = Rerun(Log(path))
    ended = list(requests_of(rerun))
    assert rerun.divergence is None
    assert (rerun.skipped, rerun.lost) == (0, 0)
    of = by_name(ended, list(answers))
    assert {n: (r.hit, r.output) for n, r in of.items()} == answers
    assert {n: of[n].from_host for n in from_host} == from_host
    assert sum(from_host.values()) > 0
    assert explained_alike(path, said, of) > 0
    assert rerun.tier is not None
    rerun.tier.check(2)
    again = rerun.tier.stats()
    same = {"host_loads", "host_load_bytes", "host_writes", "host_write_bytes", "host_tree_nodes",
            "host_frames_free", "host_evicted_tokens", "host_evicted_states"}  # fmt: skip
    assert {name: again[name] for name in same} == {name: stats[name] for name in same}
    picture, _ = picture_at(
        path, seconds=None, operation=None, nodes=50, cells=64, advance=lambda n: None
    )
    assert picture.host is not None
    assert picture.host.geometry.frames - 1 == stats["host_frames"]


def text_of(part: Path) -> str:
    """What a part says, though the last one's frame has no end while its server runs."""
    if ".zst" not in part.name:
        return part.read_text()
    with part.open("rb") as file:
        return ZstdDecompressor().stream_reader(file, read_across_frames=True).read().decode()


def by_name(ended: list[RecordedRequest], names: list[str]) -> dict[str, RecordedRequest]:
    salt = make_salt(SALT)
    found = {request.name: request for request in ended}
    return {name: found[name_hash(salt, name)] for name in names}


@pytest.mark.xdist_group("observed")
def test_the_log_has_the_servers_hits(observed: Observed) -> None:
    """Of a server that goes on: its log is whole but for the last second."""
    live = observed.server
    assert f"cachepawl: recording to {observed.trace}\n" in live.log
    before = live.client.wait_idle()
    answers, said = serve(live.client)
    stats = live.client.wait_idle()
    assert stats["evicted_tokens"] > before["evicted_tokens"]
    time.sleep(2.5)  # the last second is flushed
    of = the_log_has(observed.trace, answers, stats)
    assert explained_alike(observed.trace, said, of) > 0


@pytest.mark.stress
def test_a_plain_log_of_attention_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    more = [
        *("--cachepawl-device-gb", "0.0005", "--cachepawl-trace", str(path)),
        *("--cachepawl-policy", "lru"),
        *("--cachepawl-trace-salt", SALT, "--cachepawl-trace-mb", "0.004"),
    ]
    with running("qwen3", 1, tmp_path, limits=LIMITS, more=more) as live:
        answers, said = serve(live.client)
        stats = live.client.wait_idle()
    assert stats["evicted_tokens"] > 0
    of = the_log_has(path, answers, stats)
    assert explained_alike(path, said, of) > 0


def explained_alike(path: Path, said: list[dict[str, Any]], of: dict[str, RecordedRequest]) -> int:
    """What the server said of its latest requests is what the log explains; causes found."""
    causes = 0
    for one in said:
        if one["rid"] in of:
            again = explain_recorded(path, of[one["rid"]].ordinal)
            assert (again.prompt, again.usable) == (one["prompt"], one["cached"])
            assert [str(miss) for miss, _ in again.misses] == one["reasons"]
            causes += sum(cause is not None for _, cause in again.misses)
    return causes


def the_log_has(
    path: Path, answers: dict[str, tuple[int, int]], stats: dict[str, int]
) -> dict[str, RecordedRequest]:
    """What was answered, what the server counted in the end, and nothing that was asked.

    Returns the requests by their names.
    """
    rerun = Rerun(Log(path))
    ended = list(requests_of(rerun))
    assert rerun.divergence is None
    assert (rerun.skipped, rerun.lost) == (0, 0)
    assert len(rerun.log.parts) > 1

    text = "".join(text_of(part) for part in rerun.log.parts)
    assert len(text.splitlines()) > len(answers)
    assert str(SECRET[:4])[1:-1].replace(" ", "") not in text
    assert '"secret"' not in text
    assert SALT not in text

    of = by_name(ended, list(answers))
    assert {n: (r.hit, r.output) for n, r in of.items()} == answers
    assert {n: (r.cached, r.output) for n, r in of.items()} == answers
    assert all(r.prompt - r.recorded == sum(m.tokens for m in r.missed) for r in of.values())
    assert sum(r.recorded for r in of.values()) > CHUNK
    (gone,) = by_name(ended, ["gone"]).values()
    assert gone.how == "abort"

    assert rerun.cache is not None
    rerun.cache.check(2)
    again = rerun.cache.stats()
    counted = {"lookups", "prompt_tokens", "hit_tokens", "checkpoints_skipped", "prefix_waits",
               "prefix_waits_met", "snapshots_at_marks", "marks_lost",
               "admissions_refused", "prefixes_dropped"}  # fmt: skip
    assert {k: v for k, v in again.items() if k not in counted} == {
        k: v for k, v in stats.items() if k not in counted
    }

    keys = {request.number: key for request, key in arrivals(Log(path))}
    assert keys.keys() == {request.number for request in ended}
    assert keys[of["secret"].number] == keys[of["again"].number]
    assert list(keys) == sorted(keys)
    return of
