"""Processes that must decide alike: tensor-parallel ranks, and two runs of the same load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cells import LIMITS
from conftest import EAGER
from harness import TOLERANCE, Server, running, tokens
from test_host_layerwise import LATE, LAYERS
from test_host_retraction import crowd_goes_on
from test_host_tier import MANY, one_by_one, round_of
from test_policy import kept
from test_pressure import mixed_jobs, worst

from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.policy.joint.classes import END
from cachepawl.policy.joint.history import OldSpell, save

FAMILY, PAGE = "nemotron_h", 16
RANKS = {"SGLANG_CPU_OMP_THREADS_BIND": "0|1"}
"""SGLang wants to be told where the threads of each CPU rank run."""


def options(log: Path, gib: str) -> list[str]:
    level = ["--cachepawl-check-level", "2"]
    return ["--cachepawl-device-gb", gib, *level, "--cachepawl-decision-log", str(log)]


@pytest.mark.xdist_group("ranks")
def test_two_ranks_decide_alike(tmp_path: Path) -> None:
    """Concurrent requests against a small arena over two gloo ranks, by a policy that learns."""
    log = tmp_path / "decisions"
    trace = tmp_path / "trace.gz"
    more = [*options(log, "0.0009"), "--tp-size", "2", "--cachepawl-trace", str(trace)]
    more += ["--cachepawl-policy", "joint"]  # which reads the requests' times, too
    with running(FAMILY, PAGE, tmp_path, limits=LIMITS, more=more, late=RANKS) as live:
        jobs = mixed_jobs(16, 1000)
        cold = live.client.cold_many(jobs)
        warm = live.client.generate_many(jobs * 2, 6)
        assert worst(cold * 2, warm) < TOLERANCE
        stats = live.client.wait_idle()
        assert stats["evicted_states"] > 0
        time.sleep(2.5)  # what was recorded is flushed every second
    one, other = (Path(f"{log}.{rank}").read_text() for rank in (0, 1))
    assert len(one.splitlines()) > 100
    assert one == other
    # The first rank records for both.
    assert sorted(tmp_path.glob("trace*")) == [trace]
    rerun = Rerun(Log(trace))
    for _ in rerun.run():
        pass
    assert rerun.divergence is None
    assert rerun.cache is not None
    assert rerun.cache.stats()["evicted_states"] == stats["evicted_states"]


def play(live: Server) -> list[int]:
    """One at a time, so that time has no part in it."""
    jobs = mixed_jobs(25, 4000)
    return [live.client.generate(*job).cached for job in jobs + jobs[::2]] + [
        live.client.generate(tokens(9, 700), 4).cached
    ]


@pytest.mark.stress
@pytest.mark.xdist_group("ranks")
def test_two_runs_decide_alike(tmp_path: Path) -> None:
    """Other hash seeds, another time of day: the same decisions line by line."""
    texts, hits = [], []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        log = folder / "decisions"
        environ = {"PYTHONHASHSEED": seed}
        more = options(log, "0.0012")
        with running(FAMILY, PAGE, folder, limits=LIMITS, more=more, env=environ) as live:
            live.client.flush()
            hits.append(play(live))
        # What SGLang's health check asked before the flush is not part of the load.
        texts.append(Path(f"{log}.0").read_text().split("reset")[-1])
    assert hits[0] == hits[1]
    assert len(texts[0].splitlines()) > 100
    assert texts[0] == texts[1]


@pytest.mark.stress
@pytest.mark.xdist_group("ranks")
def test_two_ranks_take_the_same_transfers(tmp_path: Path) -> None:
    """Copies end at another time on each rank; both tiers stay alike, history included."""
    log, history = tmp_path / "decisions", tmp_path / "history"
    save(history, [OldSpell((0, END, 0, 0, 0), 20_000, True)] * 500)
    host = ["--cachepawl-host-gb", "12x", "--cachepawl-host-slow", "0.002"]
    more = [*options(log, "0.0009"), *host, "--tp-size", "2"]
    more += ["--cachepawl-policy", "joint", "--cachepawl-policy-history", str(history)]
    with running(FAMILY, PAGE, tmp_path, limits=LIMITS, more=more, late=RANKS) as live:
        jobs = mixed_jobs(16, 1000)
        cold = live.client.cold_many(jobs)
        first = live.client.generate_many(jobs, 6)
        warm = live.client.generate_many(jobs * 2, 6)
        assert worst(cold, first) < TOLERANCE
        assert worst(cold * 2, warm) < TOLERANCE
        stats = live.client.wait_idle()
        assert stats["host_loads"] > 0
        assert stats["host_out_of_use"] == 0
        assert len(kept(history, 500 + len(jobs))) >= 500 + len(jobs)
    one, other = (Path(f"{log}.{rank}").read_text() for rank in (0, 1))
    assert "host" in one
    assert one == other


@pytest.mark.stress
@pytest.mark.xdist_group("ranks")
def test_two_ranks_retract_and_ride_alike(tmp_path: Path) -> None:
    """Requests begin on loads that come late, layer by layer, and are retracted and go on."""
    log = tmp_path / "decisions"
    jobs = round_of(MANY)
    more = [*LAYERS, *LATE, *EAGER, *options(log, "0.0009"), "--tp-size", "2"]
    with running(FAMILY, PAGE, tmp_path, limits=LIMITS, more=more, late=RANKS) as live:
        client = live.client
        cold, warm = one_by_one(client, jobs), one_by_one(client, jobs)
        assert worst(cold, warm) < TOLERANCE
        crowd_goes_on(client)
        stats = client.wait_copied()
        print({name: n for name, n in stats.items() if name.startswith("host_")})
        assert stats["host_rides"] > 0
        assert stats["host_retractions"] == stats["host_retractions_resumed"] > 0
        assert stats["host_retractions_kept"] == stats["host_retractions"]
        assert stats["host_retractions_short"] == stats["host_loads_failed"] == 0
        assert stats["host_out_of_use"] == stats["host_duplicate_pages"] == 0
    one, other = (Path(f"{log}.{rank}").read_text() for rank in (0, 1))
    assert "host" in one
    assert one == other
