"""What an undisturbed server serves from the cache: exactly this, and the same numbers."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import Any

import pytest
import requests
from cells import CHUNK, GRID, Cell
from harness import TOLERANCE, Client, exactly, tokens

LENGTHS = (40, GRID, GRID + 1, 100, 2 * GRID, 3 * GRID, 200, 257, 300)
"""Off the grid, on it, and one past it; longer than a chunk."""


@pytest.mark.parametrize("length", LENGTHS)
def test_identical_repeat(client: Client, cell: Cell, length: int) -> None:
    prompt = tokens(1, length)
    first, again = client.generate(prompt), client.generate(prompt)
    assert (first.cached, again.cached) == (0, cell.repeat(length))
    assert first.distance(again) < TOLERANCE


@pytest.mark.parametrize("length", LENGTHS)
def test_extension(client: Client, cell: Cell, length: int) -> None:
    prompt, longer = tokens(1, length), tokens(1, length) + tokens(2, 70)
    cold = client.cold(longer)
    client.flush()
    client.generate(prompt)
    warm = client.generate(longer)
    assert warm.cached == cell.extend(length)
    assert cold.distance(warm) < TOLERANCE


def test_forks(client: Client, cell: Cell) -> None:
    a, b, c, d = (tokens(5, 100) + tokens(10 + i, 150) for i in range(4))
    cold = client.cold(d)
    client.flush()
    answers = [client.generate(prompt) for prompt in (a, b, b, c, d)]
    assert [answer.cached for answer in answers] == cell.forks(100, 250)
    assert cold.distance(answers[-1]) < TOLERANCE


def test_chunks_that_share_a_forward(client: Client, cell: Cell) -> None:
    """The rest of a forward that another prompt has begun ends on the grid as well."""
    if cell.has_states and not cell.tracked:
        pytest.skip("states are wherever a chunk ends")
    jobs = [(tokens(1, 100), 2), (tokens(2, 400), 2), (tokens(3, 230), 2)]
    first = client.generate_at_once(jobs)
    again = [client.generate(*job) for job in jobs]
    assert [answer.cached for answer in first] == [0, 0, 0]
    assert [answer.cached for answer in again] == [cell.repeat(len(ids)) for ids, _ in jobs]
    assert max(a.distance(b) for a, b in zip(first, again, strict=True)) < TOLERANCE


def test_turns(client: Client, cell: Cell) -> None:
    prompt = tokens(7, 150)
    answer = client.generate(prompt, 150)
    following = prompt + list(answer.ids) + tokens(8, 30)
    warm = client.generate(following)
    assert warm.cached == cell.next_turn(150, 150)
    assert client.cold(following).distance(warm) < TOLERANCE


def chat(client: Client, system: str, *turns: str) -> dict[str, Any]:
    """Ask in a chat; what the server says of the request."""
    roles = ["user", "assistant"] * len(turns)
    talk = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
    body = {"messages": [{"role": "system", "content": system}, *talk], "max_tokens": 4,
            "model": "tiny", "temperature": 0}  # fmt: skip
    reply = requests.post(f"{client.base}/v1/chat/completions", json=body, timeout=60)
    assert reply.ok, reply.text
    client.wait_idle()
    latest: dict[str, Any] = client.pawl()["requests"][-1]
    return latest


@pytest.mark.parametrize("length", [150, 2 * CHUNK + 150])
def test_the_second_chat_under_a_system_prompt(client: Client, cell: Cell, length: int) -> None:
    """A state is left where the first user speaks, in a prompt of one chunk and of several."""
    system = "".join(random.Random(length).choices(string.ascii_letters, k=length))
    shared = len(f"^system\n{system}^\n^user\n")  # one token a letter, ^ for a special one
    first = chat(client, system, "7 things of which nobody has heard, and some more: " * 2)
    second = chat(client, system, "Else.")
    other = chat(client, system[:-1], "Else.")
    hit = cell.extend(shared)
    assert [first["cached"], second["cached"]] == [0, hit]
    assert second["prompt"] > shared
    assert other["cached"] <= hit


def test_a_named_checkpoint(client: Client, cell: Cell) -> None:
    """Two prompts that part where the client said they would; nonsense is counted."""
    named = {"custom_params": {"cachepawl_checkpoints": 130}}
    limits = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}
    shared = tokens(31, 130)
    client.generate(shared + tokens(32, 150), sampling_params=limits | named)
    warm = client.generate(shared + tokens(33, 150))
    assert warm.cached == cell.extend(130)
    assert client.cold(shared + tokens(33, 150)).distance(warm) < TOLERANCE


def marked(depth: int) -> Callable[[int], dict[str, Any]]:
    """Sampling parameters of prompts that others are likely to leave at a depth."""
    return lambda new: exactly(new) | {"custom_params": {"cachepawl_checkpoints": depth}}


def test_chats_under_a_new_system_prompt_at_once(client: Client, cell: Cell) -> None:
    """The first computes it, the others wait a forward and have it."""
    if not cell.has_states:
        pytest.skip("only states are waited for")
    system = tokens(41, 130)
    jobs = [(system + tokens(42 + i, 30 + i), 8) for i in range(8)]
    cold = client.cold_many(jobs)
    client.flush()
    before = client.stats()
    warm = client.generate_at_once(jobs, marked(130))
    assert [answer.cached for answer in warm] == [0] + [cell.extend(130)] * 7
    assert max(a.distance(b) for a, b in zip(cold, warm, strict=True)) < TOLERANCE
    after = client.stats()
    assert [after[n] - before[n] for n in ("prefix_waits", "prefix_waits_met")] == [7, 7]


def test_chats_under_system_prompts_of_their_own_at_once(client: Client, cell: Cell) -> None:
    """Cut at their marks one a forward; who is computed whole beside one has its snapshot there."""
    if not cell.has_states:
        pytest.skip("only states have marks")
    systems = [tokens(61 + i, 70) for i in range(3)]
    first, second = (
        [(system + tokens(seed + i, 60), 8) for i, system in enumerate(systems)]
        for seed in (71, 81)
    )
    cold = client.cold_many([*first, *second])
    client.flush()
    before = client.stats()
    warm = client.generate_at_once(first, marked(70))
    warm += client.generate_at_once(second, marked(70))
    hit = cell.extend(70)
    beside = hit if cell.tracked else 0
    assert [answer.cached for answer in warm] == [0, 0, 0, hit, beside, hit]
    assert max(a.distance(b) for a, b in zip(cold, warm, strict=True)) < TOLERANCE
    after = client.stats()
    whole = [after[n] - before[n] for n in ("snapshots_at_marks", "marks_lost")]
    assert whole == ([1, 0] if cell.tracked else [0, 1])


def test_a_short_answer(client: Client, cell: Cell) -> None:
    """All but the last tokens of it, though it is far from SGLang's next snapshot."""
    for prompt, answer in ((150, 40), (96, 33), (64, 3)):
        client.flush()
        ids = tokens(9, prompt)
        said = client.generate(ids, answer)
        warm = client.generate(ids + list(said.ids) + tokens(10, 20))
        assert warm.cached == cell.next_turn(prompt, answer)


def test_reasons(client: Client, cell: Cell) -> None:
    """Every token that was not served has a reason."""
    a, b = (tokens(5, 100) + tokens(20 + i, 60) for i in range(2))
    client.generate(a)
    client.generate(b)
    client.wait_idle()
    latest = client.pawl()["requests"][-1]
    assert latest["prompt"] == len(b)
    counts = [int(reason.split()[0]) for reason in latest["reasons"]]
    assert sum(counts) == len(b) - latest["cached"]
    without_state = any("without a state" in reason for reason in latest["reasons"])
    assert without_state == cell.has_states


def test_flush_forgets(client: Client) -> None:
    prompt = tokens(3, 200)
    client.generate(prompt)
    client.flush()
    assert client.stats()["tree_nodes"] == 0
    assert client.stats()["frames_free"] == client.stats()["frames"]
    assert client.generate(prompt).cached == 0


def test_namespaces_share_nothing(client: Client) -> None:
    prompt = tokens(4, 200)
    here = client.generate(prompt, extra_key="a")
    there = client.generate(prompt, extra_key="b")
    assert there.cached == 0
    assert here.distance(there) < TOLERANCE


def test_beam_search_is_refused_and_the_server_goes_on(client: Client) -> None:
    params = {"max_new_tokens": 4, "beam_width": 3, "n": 2}
    body = {"input_ids": tokens(5, 40), "sampling_params": params}
    reply = requests.post(f"{client.base}/generate", json=body, timeout=60)
    assert not reply.ok
    assert "eam search is not supported" in reply.text
    assert client.generate(tokens(5, 40)).cached == 0
