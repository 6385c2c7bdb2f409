"""More answers than fit beside a host tier: what is retracted goes on where it was saved.

The snapshot of a retracted request is published, written to the host before all else, and kept
there until the request runs again.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cells import ARENA_GB, CELLS, LIMITS, Cell
from conftest import EAGER, LOUD
from harness import TOLERANCE, Client, hopefully, running, tokens
from test_host_tier import HOST, QUICK, WRONG_BY
from test_pressure import worst

ANSWER = 200
HOPEFUL = hopefully(ANSWER)
JOBS = [(tokens(500 + i, 60), ANSWER) for i in range(12)]
LONG = [(tokens(600 + i, 300), ANSWER) for i in range(8)]
ARENA_OF = {"lfm2-1": "0.0012", "qwen3-16": "0.0024"}
"""GiB where the usual arena would hold a crowd whole, or too little for a crowd of long ones."""
COLD = 3
"""So many of the short ones are compared with an undisturbed run."""


def plain(client: Client, prompt: list[int], **more: str) -> tuple[int, ...]:
    """The ids of an answer.  Whoever asks for log-probabilities goes on from the prompt at most."""
    out = client._post({"input_ids": prompt, "sampling_params": HOPEFUL, **more})
    return tuple(out["output_ids"])


def crowd_goes_on(client: Client, cell: Cell = QUICK) -> None:
    """Answers that were interrupted are right, and so is what they leave.

    A dense model's answer may leave an arena that is full before it is written: a write-back pins
    nothing that the running may need.  Those that were retracted end last, when there is room.
    """
    before = client.stats()["host_retractions"]
    with ThreadPoolExecutor(len(JOBS)) as pool:
        answers = list(pool.map(lambda job: plain(client, job[0]), JOBS))
    retracted = client.wait_idle()["host_retractions"] - before
    cold = [client.cold(*job, sampling_params=HOPEFUL) for job in JOBS[-COLD:]]
    assert [answer.ids for answer in cold] == answers[-COLD:]
    turns = [
        ([*prompt, *ids, *tokens(9, 5)], 2) for (prompt, _), ids in zip(JOBS, answers, strict=True)
    ]
    warm = [client.generate(*turn) for turn in turns]
    cached, prompt = [answer.cached for answer in warm], len(JOBS[0][0])
    print(cached)
    if cell.has_states:
        assert min(cached) > prompt
    else:
        assert min(cached) >= cell.floor(prompt)
        assert cached.count(cell.next_turn(prompt, ANSWER)) >= retracted
    assert worst([client.cold(*turn) for turn in turns], warm) < TOLERANCE


def parked_and_resumed(log: Path, stats: dict[str, int]) -> int:
    """Requests that were retracted: each went on from exactly the tokens that were parked of it."""
    lines = [line.split() for line in Path(f"{log}.0").read_text().splitlines()]
    parked = [int(words[1]) for words in lines if words[0] == "retract"]
    resumed = [(int(words[1]), int(words[2])) for words in lines if words[0] == "resume"]
    print(resumed)
    assert all(came == was for was, came in resumed)
    assert sorted(parked) == sorted(came for _, came in resumed)
    assert sum(came for _, came in resumed) == stats["host_retractions_resumed_tokens"]
    return len(resumed)


def long_crowd(client: Client) -> float:
    """The largest difference of log-probabilities to an undisturbed run."""
    warm = client.generate_many(LONG, len(LONG), sampling_params=HOPEFUL)
    client.wait_idle()
    return worst([client.cold(*job, sampling_params=HOPEFUL) for job in LONG], warm)


@pytest.mark.stress
@pytest.mark.parametrize("cell", [pytest.param(cell, id=str(cell)) for cell in CELLS])
def test_a_retracted_request_goes_on_where_it_was(cell: Cell, tmp_path: Path) -> None:
    arena = ["--cachepawl-device-gb", ARENA_OF.get(str(cell), ARENA_GB)]
    log = tmp_path / "decisions"
    more = [*LOUD, *HOST, *EAGER, *arena, "--cachepawl-decision-log", str(log)]
    with running(cell.family, cell.page, tmp_path, limits=LIMITS, more=more) as live:
        client = live.client
        crowd_goes_on(client, cell)
        stats = client.wait_idle()
        print({name: n for name, n in stats.items() if "retract" in name})
        assert live.log.count("Retract requests") > 0
        assert stats["host_retractions"] == stats["host_retractions_resumed"] > 0
        assert stats["host_retractions_kept"] == stats["host_retractions"]
        assert stats["host_retractions_short"] == stats["host_retracted"] == 0
        assert stats["host_retractions_resumed_tokens"] > 60 * stats["host_retractions_resumed"]
        assert parked_and_resumed(log, stats) == stats["host_retractions"]
        assert long_crowd(client) < TOLERANCE
        after = client.wait_idle()
        print({name: n for name, n in after.items() if "retract" in name})
        assert after["host_retractions"] > stats["host_retractions"]
        assert after["host_retracted"] == after["host_holds"] == 0
        assert parked_and_resumed(log, after) == after["host_retractions"]
        client.flush()


@pytest.mark.stress
def test_a_wrong_state_of_a_retracted_request_shows(tmp_path: Path) -> None:
    """So the state that it goes on from is the one that was loaded."""
    more = [*HOST, *EAGER, "--cachepawl-host-corrupt", "states"]
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=more) as live:
        assert min(long_crowd(live.client), 1.0) > WRONG_BY


@pytest.mark.stress
def test_gone_while_retracted(tmp_path: Path) -> None:
    """Clients give up after the first retraction: nothing is kept for them."""
    more = [*LOUD, *HOST, *EAGER, "--cachepawl-host-slow", "0.3"]
    with running(QUICK.family, QUICK.page, tmp_path, limits=LIMITS, more=more) as live:
        client = live.client
        with ThreadPoolExecutor(len(JOBS)) as pool:
            answers = [
                pool.submit(plain, client, prompt, rid=f"gone{i}")
                for i, (prompt, _) in enumerate(JOBS)
            ]
            deadline = time.monotonic() + 120
            while not client.stats()["host_retracted"]:
                assert time.monotonic() < deadline, "nobody was retracted"
                time.sleep(0.02)
            for i in range(len(JOBS)):
                client.abort(f"gone{i}")
            for answer in answers:
                answer.exception()
        stats = client.wait_idle()
        assert stats["host_retracted"] == stats["host_holds"] == 0
        client.flush()  # once the last copies have ended
        (prompt, count), empty = JOBS[-1], client.stats()
        assert empty["full_protected_tokens"] == empty["state_protected"] == 0
        assert empty["host_pages_in_use"] == empty["host_frames_state"] == 0
        cold = client.cold(prompt, count, sampling_params=HOPEFUL)
        assert client.generate(prompt, count, sampling_params=HOPEFUL).distance(cold) < TOLERANCE
