"""Against transformers: an independent implementation of the same models."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from cells import CELLS, Cell
from harness import TOLERANCE, Client, model_folder, tokens

from cachepawl_launch.cpu.tiny import make_tiny


@cache
def reference(family: str) -> Any:
    from transformers import AutoModelForCausalLM

    folder = make_tiny(family, model_folder())
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logprobs_of(family: str, prompt: list[int], answer: tuple[int, ...]) -> list[float]:
    """Log-probability of every token of an answer, in one forward over all of it."""
    with torch.no_grad():
        logits = reference(family)(torch.tensor([prompt + list(answer)])).logits[0].float()
    rows = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return rows.gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()


@pytest.mark.parametrize("length", [100, 300])
def test_cold_and_warm_equal_transformers(client: Client, cell: Cell, length: int) -> None:
    prompt = tokens(600, length)
    cold = client.generate(prompt, 16)
    warm = client.generate(prompt + list(cold.ids) + tokens(601, 70), 16)
    for ids, answer in ((prompt, cold), (prompt + list(cold.ids) + tokens(601, 70), warm)):
        wanted = logprobs_of(cell.family, ids, answer.ids)
        assert max(abs(a - b) for a, b in zip(wanted, answer.logprobs, strict=True)) < TOLERANCE
    assert warm.cached > 0


def test_every_family_has_a_cell() -> None:
    from cachepawl_launch.cpu.tiny import FAMILIES

    assert {cell.family for cell in CELLS} == set(FAMILIES)
