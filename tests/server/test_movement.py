"""The arena's bytes moved by our Triton kernels, interpreted, in the real server.

What a state or a page is after a copy, a clearing or a move shows in log-probabilities, and
freed frames are full of NaN.  Every verb has to be seen in use, or the test would prove nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import ARENA_GB, CELLS, CHUNK, LIMITS, Cell
from conftest import EAGER, LOUD
from conversation import converse
from harness import TOLERANCE, Client, hopefully, running
from stranding import FEW, arena_of, jobs_of

from cachepawl_launch.cpu.flags import Limits

KERNELS = ["--cachepawl-movement", "triton"]
INTERPRETED = {"TRITON_INTERPRET": "1"}
FRAMES, LONG, SHORT = 200, 36, 140
"""As the smaller case of `test_evacuation`."""


def hits(client: Client, cell: Cell) -> None:
    """Hits and log-probabilities of what a user of the cache does."""
    assert max(cold.distance(warm) for cold, warm in converse(client, cell)) < TOLERANCE


def moved_by_kernels(client: Client) -> set[str]:
    """The verbs that were used, if none of them fell back."""
    movement = client.pawl()["movement"]
    assert (movement["name"], movement["fallbacks"]) == ("triton", 0)
    return set(movement["calls"])


def test_states_pages_and_frames_are_moved_by_kernels(tmp_path: Path) -> None:
    jobs = jobs_of(LONG, SHORT)
    limits = Limits(None, None, requests=3 * LONG, context=2048, chunked_prefill=CHUNK)
    more = [*LOUD, *EAGER, *arena_of(FRAMES), *KERNELS]
    with running("nemotron_h", 1, tmp_path, limits=limits, more=more, env=INTERPRETED) as server:
        client = server.client
        warm = client.generate_at_once(jobs, hopefully)
        stats = client.wait_idle()
        assert stats["evacuated_pages"] > 0
        client.flush()
        calm = client.generate_at_once(jobs[:FEW], hopefully)
        assert max(a.distance(b) for a, b in zip(calm, warm[:FEW], strict=True)) < TOLERANCE
        client.flush()
        hits(client, Cell("nemotron_h", 1))
        assert client.pawl()["device_reads"] == 0
        assert moved_by_kernels(client) == {"copy_units", "zero_units", "move_runs", "zero_listed"}


@pytest.mark.stress
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_hits_of_every_family(cell: Cell, tmp_path: Path) -> None:
    more = [*LOUD, *EAGER, "--cachepawl-device-gb", ARENA_GB, *KERNELS]
    with running(
        cell.family, cell.page, tmp_path, limits=LIMITS, more=more, env=INTERPRETED
    ) as server:
        hits(server.client, cell)
        used = moved_by_kernels(server.client)
        assert not cell.has_states or {"copy_units", "zero_units"} <= used
