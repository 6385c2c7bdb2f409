"""Stranded frames on a real server: pages of running requests are moved, nobody notices.

The scenario of `docs/decisions/0020-evacuation.md`, scaled to the tiny model: requests decode
side by side until the arena is full, most of them end, and the pages of the others lie in many
frames.  Then requests come whose states need whole frames.  The full-sized scenario has frames
of 197 pages, 64 requests of 128 pages or 256 of 32, and one survivor; here a frame is 22 tokens
at page 1, a request takes three states, and two thirds of the long ones survive: fewer would
leave whole frames enough.  The full size itself, without a model: `tests/cache/test_evacuation.py`.

The server runs at check level 2: every device row is compared with the host's pages at every
step, and what is freed is full of NaN.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import CHUNK
from conftest import EAGER, LOUD
from harness import TOLERANCE, hopefully, running
from stranding import FEW, PAGES, arena_of, jobs_of

from cachepawl_launch.cpu.flags import Limits


@pytest.mark.parametrize(
    ("frames", "long", "short"),
    [
        pytest.param(200, 36, 140, id="tiny"),
        pytest.param(1440, 256, 1500, id="large", marks=pytest.mark.stress),
    ],
)
def test_the_pages_of_survivors_are_moved(
    frames: int, long: int, short: int, tmp_path: Path
) -> None:
    jobs = jobs_of(long, short)
    limits = Limits(None, None, requests=3 * long, context=2048, chunked_prefill=CHUNK)
    more = [*LOUD, *EAGER, *arena_of(frames)]
    with running("nemotron_h", 1, tmp_path, limits=limits, more=more) as server:
        client = server.client
        warm = client.generate_at_once(jobs, hopefully)
        stats = client.wait_idle()
        assert client.pawl()["device_reads"] == 0
        print({key: n for key, n in stats.items() if "evac" in key})
        assert stats["evacuated_pages"] > 0
        client.flush()
        parts = [jobs[i : i + FEW] for i in range(0, long, FEW)]
        calm = [answer for part in parts for answer in client.generate_at_once(part, hopefully)]
        assert client.wait_idle()["evacuations"] == stats["evacuations"]
    assert stats["largest_evacuation"] <= 2 * PAGES
    assert stats["evacuations_refused"] == 0
    assert max(a.distance(b) for a, b in zip(calm, warm[:long], strict=True)) < TOLERANCE
