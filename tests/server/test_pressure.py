"""A small arena under load: the same numbers as cold, nothing lost, nobody starved.

Every invariant is checked at every step by the server itself, device rows are
compared with the host's mirror, and freed frames are full of NaN.
"""

from __future__ import annotations

import random
import time

import pytest
import requests
from cells import Cell
from harness import TOLERANCE, Answer, Client, Server, hopefully, tokens

Job = tuple[list[int], int]


def worst(cold: list[Answer], warm: list[Answer]) -> float:
    return max(a.distance(b) for a, b in zip(cold, warm, strict=True))


def mixed_jobs(count: int, seed: int) -> list[Job]:
    """Prompts over four stems and some of their own, answers of three lengths."""
    draw = random.Random(seed)
    stems = [tokens(200 + i, n) for i, n in enumerate((64, 150, 300, 500))]
    return [
        (
            (stems[draw.randrange(4)] if draw.random() < 0.75 else [])
            + tokens(seed + i, draw.choice((5, 17, 40, 90, 200, 420))),
            draw.choice((8, 24, 48)),
        )
        for i in range(count)
    ]


def test_eight_at_a_time(client: Client) -> None:
    jobs = [(tokens(20, 150) + tokens(30 + i, 20 + 13 * i), 16) for i in range(16)]
    cold = [client.cold(*job) for job in jobs]
    client.flush()
    assert worst(cold, client.generate_many(jobs, 8)) < TOLERANCE


@pytest.mark.few_cells
def test_mixed_load(client: Client) -> None:
    jobs = mixed_jobs(30, 1000)
    cold = client.cold_many(jobs)
    client.flush()
    before = client.stats()
    warm = client.generate_many(jobs, 8) + client.generate_many(jobs, 8)
    assert worst(cold + cold, warm) < TOLERANCE
    assert sum(answer.cached for answer in warm) > 0
    after = client.wait_idle()
    assert after["evicted_tokens"] > before["evicted_tokens"]
    assert client.pawl()["device_reads"] == 0


def test_bursts(client: Client, cell: Cell) -> None:
    """Groups under new system prompts in one message, more than fits at once: some wait for what
    others compute, with hardly any room for it."""
    draw = random.Random(3000)
    stems = [tokens(3000 + i, 200) for i in range(4)]
    jobs = [
        (stems[i // 4] + tokens(3010 + i, draw.choice((5, 60, 300))), draw.choice((4, 30)))
        for i in range(16)
    ]
    named = {"custom_params": {"cachepawl_checkpoints": 200}}
    cold = client.cold_many(jobs, hopefully)
    client.flush()
    before = client.stats()
    for _ in range(2):
        warm = client.generate_at_once(jobs, lambda new: hopefully(new) | named)
        assert worst(cold, warm) < TOLERANCE
    after = client.wait_idle()
    assert after["evicted_tokens"] > before["evicted_tokens"]
    assert (after["prefix_waits_met"] > before["prefix_waits_met"]) == cell.has_states


def test_eviction_and_return(client: Client, cell: Cell) -> None:
    """More prompts than fit: what went is for the policy to say, what comes back is right."""
    prompts = [tokens(60 + i, 400) for i in range(16)]
    first = [client.generate(prompt, 2) for prompt in prompts]
    back = [client.generate(prompt, 2) for prompt in prompts]
    again = client.generate(prompts[-1], 2)
    assert 0 in [answer.cached for answer in back]
    assert again.cached == cell.repeat(400)
    assert worst([*first, first[-1]], [*back, again]) < TOLERANCE


@pytest.mark.few_cells
def test_interleaved_decodes_strand_nothing(client: Client, cell: Cell) -> None:
    """Decodes page by page side by side; the last survivor's pages lie between the others'."""
    draw = random.Random(23)
    jobs = [
        (tokens(400 + i, draw.choice((20, 40, 70))), draw.choice((6, 12, 40, 250)))
        for i in range(24)
    ]
    warm = client.generate_many(jobs, 12)
    client.wait_idle()
    cold = client.cold_many(jobs)
    assert worst(cold, warm) < TOLERANCE
    stats = client.stats()
    if cell.has_states:
        assert min(stats["kv_to_state"], stats["state_to_kv"]) > 0


def test_prompt_as_large_as_the_arena(client: Client, server: Server, cell: Cell) -> None:
    """On an idle server full of cached things, which have to make way."""
    for i in range(30):
        client.generate(tokens(100 + i, 66), 2)
    longest = min(int(client.pawl()["longest_request"]), 4000) - 3 * cell.page - 8
    prompt = tokens(9, longest)
    first = client.generate(prompt, 4)
    again = client.generate(prompt, 4)
    assert len(first.ids) == len(again.ids) == 4
    assert first.distance(again) < TOLERANCE


def test_prompt_larger_than_the_arena(client: Client) -> None:
    """Refused by name; the server goes on."""
    longest = int(client.pawl()["longest_request"])
    if longest > 4000:
        pytest.skip(f"the arena holds {longest} tokens, more than the context of this server")
    with pytest.raises(requests.HTTPError) as refused:
        client.generate(tokens(9, min(longest + 40, 4090)), 4)
    assert "exceeds the KV memory budget" in refused.value.response.text
    assert client.generate(tokens(9, 100)).cached == 0


@pytest.mark.few_cells
def test_retraction(client: Client, server: Server) -> None:
    """More answers than fit: some wait, some are taken back and resume, all are right."""
    jobs = [(tokens(500 + i, 60), 300) for i in range(12)]
    before = server.log.count("Retract requests")
    warm = client.generate_at_once(jobs, hopefully)
    client.wait_idle()
    cold = client.cold_many(jobs[:4], hopefully)
    assert worst(cold, warm[:4]) < TOLERANCE
    assert all(len(answer.ids) == 300 for answer in warm)
    assert server.log.count("Retract requests") > before


def test_abort_in_mid_stream(client: Client) -> None:
    body = {
        "input_ids": tokens(70, 200),
        "sampling_params": {"temperature": 0, "max_new_tokens": 1500, "ignore_eos": True},
        "stream": True,
    }
    with requests.post(f"{client.base}/generate", json=body, stream=True, timeout=60) as reply:
        lines = reply.iter_lines()
        for _ in range(10):
            next(lines)
        assert client.stats()["rows"] == 1
    assert client.wait_idle()["full_protected_tokens"] == 0
    assert client.generate(tokens(70, 200)).distance(client.cold(tokens(70, 200))) < TOLERANCE


def test_long_idle(client: Client, server: Server) -> None:
    """SGLang's own strict memory check runs while nothing does."""
    client.generate(tokens(80, 300))
    time.sleep(3)
    assert requests.get(f"{client.base}/health", timeout=30).ok
    assert server.alive
    stats = client.wait_idle()
    assert stats["full_protected_tokens"] == stats["state_protected"] == 0
