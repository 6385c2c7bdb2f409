"""Compressed states on the real server: the same hits, more states, and what rounding costs.

Numbers are compared at the first token of an answer, for fixed tokens: there cold and warm have
the same context, whatever rounding does to the choice of later ones.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from cells import ARENA_GB, CELLS, LIMITS, Cell
from harness import Client, Server, running, tokens

LOUD = ["--cachepawl-check-level", "2", "--cachepawl-poison-freed"]
LOOKED_AT = list(range(5, 260, 5))
"""Tokens whose log-probabilities are compared."""
PROMPTS = [(200, 70), (100, 33), (300, 5), (150, 90)]
"""Tokens that are cached, and tokens behind them."""


class Off(NamedTuple):
    """How far warm log-probabilities are from cold ones."""

    mean: float
    most: float


def first_logprobs(
    client: Client, ids: list[int], extra_key: str | None
) -> tuple[int, list[float]]:
    """Cached tokens, and log-probabilities of `LOOKED_AT` behind a prompt."""
    body = {
        "input_ids": ids,
        "sampling_params": {"temperature": 0, "max_new_tokens": 1, "ignore_eos": True},
        "return_logprob": True,
        "token_ids_logprob": LOOKED_AT,
        "extra_key": extra_key,
    }
    reply = requests.post(f"{client.base}/generate", json=body, timeout=300)
    reply.raise_for_status()
    meta = reply.json()["meta_info"]
    return meta["cached_tokens"], [entry[0] for entry in meta["output_token_ids_logprobs"][0]]


def measured(client: Client, cell: Cell) -> Off:
    """Every prompt cold and warm; all of them hit what an uncompressed server hits."""
    off = []
    for seed, (cached, more) in enumerate(PROMPTS):
        prompt = tokens(900 + seed, cached)
        longer = prompt + tokens(950 + seed, more)
        none, cold = first_logprobs(client, longer, uuid.uuid4().hex)
        client.generate(prompt)
        hit, warm = first_logprobs(client, longer, None)
        assert (none, hit) == (0, cell.extend(cached))
        off += [abs(a - b) for a, b in zip(cold, warm, strict=True)]
    return Off(sum(off) / len(off), max(off))


def same_hits(client: Client, cell: Cell) -> None:
    for length in (64, 65, 200, 300):
        client.flush()
        prompt = tokens(1, length)
        answers = [client.generate(prompt) for _ in range(3)]
        assert [a.cached for a in answers] == [0, cell.repeat(length), cell.repeat(length)]
    client.flush()
    forks = [tokens(5, 100) + tokens(10 + i, 150) for i in range(4)]
    a, b, c, d = forks
    found = [client.generate(prompt).cached for prompt in (a, b, b, c, d)]
    assert found == cell.forks(100, 250)
    client.flush()
    prompt = tokens(7, 150)
    answer = client.generate(prompt, 150)
    following = prompt + list(answer.ids) + tokens(8, 30)
    assert client.generate(following).cached == cell.next_turn(150, 150)


def crowd(server: Server, cell: Cell) -> dict[str, int]:
    """More than fits, at once; level 2 checks every step, and freed frames are NaN."""
    client = server.client
    client.flush()
    jobs = [(tokens(300 + i % 7, 150 + 11 * i) + tokens(50 + i, 30), 12 + i) for i in range(16)]
    for _ in range(2):
        answers = client.generate_at_once(jobs)
        assert all(logprob == logprob for answer in answers for logprob in answer.logprobs)
    assert sum(answer.cached for answer in answers) > 0
    stats = client.wait_idle()
    assert server.alive, server.log[-3000:]
    return stats


def started(cell: Cell, dtype: str, folder: Path, *more: str, gb: str = ARENA_GB):  # type: ignore[no-untyped-def]
    flags = ["--cachepawl-device-gb", gb, "--cachepawl-checkpoint-dtype", dtype, *LOUD, *more]
    return running(cell.family, cell.page, folder, limits=LIMITS, more=flags)


def test_int8(tmp_path: Path) -> None:
    """Rounding is seen, and it is small; without a state at all `most` is above 2."""
    cell = Cell("nemotron_h", 16)
    with started(cell, "int8", tmp_path) as live:
        assert " or 3 kept states of 5184 B in int8" in live.log
        same_hits(live.client, cell)
        live.client.flush()
        off = measured(live.client, cell)
        stats = crowd(live, cell)
    print(f"int8 {cell}: {off}, {stats['checkpoints']} states in {stats['frames_checkpoint']}")
    assert 1e-5 < off.mean < 0.05
    assert off.most < 0.5
    assert stats["checkpoints"] > stats["frames_checkpoint"]
    assert stats["evicted_states"] > 0


HYBRID = [cell for cell in CELLS if cell.tracked]


@pytest.mark.stress
@pytest.mark.parametrize("cell", HYBRID, ids=str)
def test_beside_each_other(cell: Cell, tmp_path: Path) -> None:
    """Exact, int8, fp8, and the negative control of a restored state that is zero."""
    off: dict[str, Off] = {}
    for dtype in ("auto", "int8", "fp8"):
        with started(cell, dtype, tmp_path, gb="0.01") as live:
            same_hits(live.client, cell)
            live.client.flush()
            off[dtype] = measured(live.client, cell)
    with started(cell, "int8", tmp_path, "--cachepawl-corrupt-restored-state", gb="0.01") as live:
        off["zero"] = measured(live.client, cell)
    print(cell, off)
    assert off["auto"].most < 1e-4
    assert off["auto"].mean < off["int8"].mean < off["zero"].mean / 4
    assert off["fp8"].mean < off["zero"].mean / 2


@pytest.mark.stress
@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("cell", HYBRID, ids=str)
def test_a_crowd(cell: Cell, dtype: str, tmp_path: Path) -> None:
    with started(cell, dtype, tmp_path, "--schedule-conservativeness", "0.05") as live:
        stats = crowd(live, cell)
    assert stats["checkpoints"] > stats["frames_checkpoint"]
