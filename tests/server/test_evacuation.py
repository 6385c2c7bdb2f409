"""Stranded frames on a real server: pages of running requests are moved, nobody notices.

The scenario of `docs/decisions/0020-evacuation.md`, scaled to the tiny model: requests decode
side by side until the arena is full, most of them end, and the pages of the others lie in many
frames.  Then requests come whose states need whole frames.  The full-sized scenario has frames
of 197 pages, 64 requests of 128 pages or 256 of 32, and one survivor; here a frame is 22 tokens
at page 1 and a request takes three states, so a third of the requests survives.

The server runs at check level 2: every device row is compared with the host's pages at every
step, and what is freed is full of NaN.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from cells import CHUNK
from conftest import EAGER, LOUD
from harness import TOLERANCE, Answer, Client, running, tokens

from cachepawl_launch.cpu.flags import Limits

Job = tuple[list[int], int]
FRAME = 11264
"""Bytes of a frame of the tiny NemotronH at page 1: one state, or the KV of 22 tokens."""


def play(client: Client, waves: list[list[Job]]) -> list[Answer]:
    """Every wave comes while the one before still runs."""
    answers: list[list[Answer]] = [[] for _ in waves]

    def send(at: int) -> None:
        answers[at] = client.generate_at_once(waves[at])

    threads = [threading.Thread(target=send, args=(at,)) for at in range(len(waves))]
    for thread in threads:
        thread.start()
        threading.Event().wait(1.0)
    for thread in threads:
        thread.join()
    return [answer for wave in answers for answer in wave]


def stranding(long: int, short: int, waves: int) -> list[list[Job]]:
    """`long` requests that decode side by side, then `waves` of `short` ones."""
    draw = random.Random(long)
    first = [(tokens(4000 + i, draw.randrange(8, 30)), draw.choice((20, 70))) for i in range(long)]
    later = [[(tokens(5000 + 100 * w + i, 4), 4) for i in range(short)] for w in range(waves)]
    return [first, *later]


@pytest.mark.parametrize(
    ("frames", "long", "short", "waves"),
    [
        pytest.param(185, 24, 30, 3, id="tiny"),
        pytest.param(1400, 256, 300, 3, id="large", marks=pytest.mark.stress),
    ],
)
def test_the_pages_of_survivors_are_moved(
    frames: int, long: int, short: int, waves: int, tmp_path: Path
) -> None:
    jobs = stranding(long, short, waves)
    limits = Limits(None, None, requests=2 * long, context=2048, chunked_prefill=CHUNK)
    arena = ["--cachepawl-device-gb", f"{(frames + 1) * FRAME / 2**30:.9f}"]
    with running("nemotron_h", 1, tmp_path, limits=limits, more=[*LOUD, *EAGER, *arena]) as server:
        client = server.client
        warm = play(client, jobs)
        stats = client.wait_idle()
        device_reads = client.pawl()["device_reads"]
        print({k: v for k, v in stats.items()})
        assert stats["evacuated_pages"] > 0
        cold = [client.cold(*job) for wave in jobs for job in wave]
    assert stats["largest_evacuation"] <= 2 * 22
    assert stats["evacuations_refused"] == 0
    assert device_reads == 0
    assert max(a.distance(b) for a, b in zip(cold, warm, strict=True)) < TOLERANCE
