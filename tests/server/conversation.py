"""Prompts repeated, continued, left half-way and answered: what is served, and the numbers."""

from __future__ import annotations

from cells import Cell
from harness import Answer, Client, tokens


def converse(client: Client, cell: Cell) -> list[tuple[Answer, Answer]]:
    """Cold and warm answers to the same prompts.  AssertionError for a hit of another length."""
    prompt, longer = tokens(1, 200), tokens(1, 200) + tokens(2, 70)
    forks = [tokens(5, 100) + tokens(10 + i, 150) for i in range(4)]
    cold = [client.cold(ids) for ids in (prompt, longer, forks[3])]
    client.flush()
    warm = [client.generate(ids) for ids in (prompt, prompt, longer)]
    expect("repeat and extension", warm, [0, cell.repeat(200), cell.extend(200)])
    client.flush()
    forked = [client.generate(forks[i]) for i in (0, 1, 1, 2, 3)]
    expect("forks", forked, cell.forks(100, 250))
    client.flush()
    answer = client.generate(tokens(7, 150), 150)
    following = [*tokens(7, 150), *answer.ids, *tokens(8, 30)]
    turn = client.generate(following)
    expect("next turn", [turn], [cell.next_turn(150, 150)])
    return list(
        zip([*cold, client.cold(following)], [warm[1], warm[2], forked[4], turn], strict=True)
    )


def expect(what: str, answers: list[Answer], cached: list[int]) -> None:
    """So many tokens of each answer's prompt were served from the cache."""
    found = [answer.cached for answer in answers]
    assert found == cached, f"{what}: {found} tokens from the cache, expected {cached}"
