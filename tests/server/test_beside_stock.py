"""The same requests to stock SGLang: never fewer hits, and as many in the same memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cells import CELLS, CHUNK, Cell
from harness import TOLERANCE, Answer, Client, running, tokens
from plans import planned, reported

from cachepawl_launch.cpu.flags import Limits

QUICK = [Cell("nemotron_h", 16)]
REST = [cell for cell in CELLS if cell not in QUICK]
AMPLE = Limits(total_tokens=8192, states=64, requests=8, context=4096, chunked_prefill=CHUNK)


def everywhere(quick: list[Cell], rest: list[Cell]) -> list[object]:
    """Quick cells always, the rest in the long run."""
    return [pytest.param(c, id=str(c)) for c in quick] + [
        pytest.param(c, id=str(c), marks=pytest.mark.stress) for c in rest
    ]


def play(client: Client) -> list[Answer]:
    """Repeats, extensions, forks and turns, one request at a time."""
    out = []
    for length in (40, 64, 65, 100, 128, 192, 200, 257, 300):
        client.flush()
        prompt = tokens(1, length)
        out += [client.generate(p) for p in (prompt, prompt, prompt + tokens(2, 70))]
    client.flush()
    forks = [tokens(5, 100) + tokens(10 + i, 150) for i in range(4)]
    out += [client.generate(forks[i]) for i in (0, 1, 1, 2, 3, 3)]
    client.flush()
    prompt = tokens(7, 150)
    for turn in range(3):
        answer = client.generate(prompt, 100)
        out.append(answer)
        prompt = prompt + list(answer.ids) + tokens(80 + turn, 30)
    return out


@pytest.mark.parametrize("both", everywhere(QUICK, REST))
def test_never_fewer_hits(both: Cell, tmp_path: Path) -> None:
    with running(both.family, both.page, tmp_path, pawl=False, limits=AMPLE) as stock:
        theirs = play(stock.client)
        assert planned(stock) == reported(stock), "the offline plan of a stock server is wrong"
    with running(both.family, both.page, tmp_path, limits=AMPLE) as live:
        ours = play(live.client)
    pairs = list(zip(ours, theirs, strict=True))
    assert all(a.cached >= b.cached for a, b in pairs), [(a.cached, b.cached) for a, b in pairs]
    assert max(a.distance(b) for a, b in pairs) < TOLERANCE


CROWD = Cell("nemotron_h", 1)
"""At page 1 the tiny models' states fill their frames, as real models' nearly do at page 16;
a tiny model at page 16 would waste a third of every state's frame."""
ENTRY, STATE = 512, 11264
"""Bytes of a token's KV and of a state of that model, as the server prints them."""
AT_ONCE = 16
"""Requests that arrive together; half of them run, the others wait."""


@pytest.mark.parametrize(
    ("count", "total_tokens", "states"),
    [
        pytest.param(112, 1088, 44, id="1MiB"),  # as --mamba-full-memory-ratio 0.9 splits it
        pytest.param(300, 1088, 44, id="1MiB-300", marks=pytest.mark.stress),
        pytest.param(300, 2176, 88, id="2MiB", marks=pytest.mark.stress),
        pytest.param(300, 1472, 120, id="2MiB-states", marks=pytest.mark.stress),
        pytest.param(300, 3040, 49, id="2MiB-KV", marks=pytest.mark.stress),
    ],
)
def test_a_crowd_in_the_same_memory(
    count: int, total_tokens: int, states: int, tmp_path: Path
) -> None:
    """Concurrent and mixed, against a small arena: no leak, no crash, as many hits in total.

    Who runs beside whom is the same in both servers and in every run: with requests
    that arrive when they please, the totals of either move by a few percent.
    """
    jobs = _crowd(count)
    small = Limits(total_tokens, states, requests=8, context=2048, chunked_prefill=CHUNK)
    with running(CROWD.family, CROWD.page, tmp_path, pawl=False, limits=small) as stock:
        theirs = _play_crowd(stock.client, jobs)
    # What stock reserves: KV with its padding page, states with their padding slot.
    gib = ((total_tokens + CROWD.page) * ENTRY + (states + 1) * STATE) / 2**30
    limits = Limits(None, None, small.requests, small.context, small.chunked_prefill)
    more = ["--cachepawl-device-gb", f"{gib:.9f}", "--cachepawl-check-level", "1"]
    with running(CROWD.family, CROWD.page, tmp_path, limits=limits, more=more) as live:
        ours = _play_crowd(live.client, jobs)
        stats = live.client.wait_idle()
    assert max(a.distance(b) for a, b in zip(ours, theirs, strict=True)) < TOLERANCE
    assert stats["rows"] == stats["full_protected_tokens"] == stats["state_protected"] == 0
    hits = sum(a.cached for a in ours), sum(b.cached for b in theirs)
    print(f"{CROWD}: {hits[0]} tokens cached, stock {hits[1]}, in {gib:.6f} GiB")
    assert hits[0] >= hits[1]


def _play_crowd(client: Client, jobs: list[tuple[list[int], int]]) -> list[Answer]:
    parts = [jobs[i : i + AT_ONCE] for i in range(0, len(jobs), AT_ONCE)]
    return [answer for part in parts for answer in client.generate_at_once(part)]


def _crowd(count: int) -> list[tuple[list[int], int]]:
    """Conversations over shared system prompts, some alone, returning now and then."""
    draw = random.Random(31)
    systems = [tokens(700 + i, n) for i, n in enumerate((96, 160, 256, 320))]
    users = [systems[i % 4] + tokens(800 + i, draw.randrange(20, 160)) for i in range(40)]
    jobs = []
    for i in range(count):
        prompt = draw.choice(users) if draw.random() < 0.6 else draw.choice(systems)
        jobs.append((prompt + tokens(2000 + i, draw.randrange(5, 60)), draw.choice((2, 8, 16))))
    return jobs
