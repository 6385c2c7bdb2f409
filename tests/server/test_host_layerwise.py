"""Requests that begin while their prefix is loaded: each layer waits for its own bytes.

Loads are cut into groups as small as they get, and every group comes late, so a layer that
does not wait reads what was there before.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from cells import CELLS, LIMITS, Cell
from conftest import EAGER, LOUD
from harness import TOLERANCE, Answer, Client, running
from test_host_retraction import crowd_goes_on
from test_host_tier import HOST, MANY, QUICK, WRONG_BY, Job, one_by_one, round_of
from test_pressure import mixed_jobs, worst

LAYERS = [*HOST, "--cachepawl-host-layerwise", "--cachepawl-host-group-bytes", "256"]
LATE = ["--cachepawl-host-slow", "0.02"]
EVERY = [pytest.param(cell, id=str(cell), marks=pytest.mark.stress) for cell in CELLS]


def answer_at_last(client: Client, job: Job, failed: list[str]) -> Answer:
    """An answer, the second if the first is an error; what that says is added to `failed`."""
    try:
        return client.generate(*job)
    except requests.HTTPError as error:
        failed.append(error.response.text)
        return client.generate(*job)


@pytest.mark.parametrize("cell", EVERY)
def test_each_layer_waits_for_its_bytes(cell: Cell, tmp_path: Path) -> None:
    jobs, mixed = round_of(MANY), mixed_jobs(8, 1000)
    more = [*LOUD, *LAYERS, *LATE, *EAGER]
    with running(cell.family, cell.page, tmp_path, limits=LIMITS, more=more) as live:
        client = live.client
        cold, others = one_by_one(client, jobs), [client.cold(*job) for job in mixed]
        client.wait_idle()
        warm = one_by_one(client, jobs)
        assert worst(cold, warm) < TOLERANCE
        assert {answer.cached for answer in warm} == {cell.repeat(300)}
        alone = client.wait_idle()
        print({name: n for name, n in alone.items() if name.startswith("host_")})
        assert alone["host_rides"] > 12
        assert sum(answer.from_host for answer in warm) == alone["host_hit_tokens"] > 0

        many = client.generate_many([*jobs[:8], *mixed] * 2, 8)
        assert worst((cold[:8] + others) * 2, many) < TOLERANCE
        if cell == QUICK:
            crowd_goes_on(client)
        stats = client.wait_copied()
        assert stats["host_rides"] > alone["host_rides"]
        assert stats["host_loads_failed"] == stats["host_retractions_short"] == 0
        assert stats["full_protected_tokens"] == stats["state_protected"] == 0
        client.flush()


@pytest.mark.stress
def test_a_layer_that_does_not_wait_shows(tmp_path: Path) -> None:
    """The same without the waiting."""
    jobs = round_of(MANY)
    more = [*LAYERS, *LATE, "--cachepawl-host-blind"]
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=more) as live:
        cold, warm = one_by_one(live.client, jobs), one_by_one(live.client, jobs)
    assert min(worst(cold, warm), 1.0) > WRONG_BY


@pytest.mark.stress
def test_a_failed_load_ends_its_request(tmp_path: Path) -> None:
    """Its result is not sent; all others, and the same request again, are right."""
    jobs = round_of(MANY)
    more = [*LOUD, *LAYERS, "--cachepawl-host-faults", "load:1:late:9,load:2:spoil"]
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=more) as live:
        client = live.client
        cold = one_by_one(client, jobs)
        failed: list[str] = []
        warm = [answer_at_last(client, job, failed) for job in jobs]
        assert len(failed) == 1
        assert "send it again" in failed[0]
        assert worst(cold, warm) < TOLERANCE
        stats = client.wait_copied()
        assert stats["host_out_of_use"] == 1
        assert stats["full_protected_tokens"] == stats["state_protected"] == 0
        client.flush()
