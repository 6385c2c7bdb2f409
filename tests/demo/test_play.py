"""The demo's own judgement, on servers made up for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cachepawl_launch.demo.client import Client, Reply
from cachepawl_launch.demo.play import Player, Row
from cachepawl_launch.demo.script import SCRIPT, Ask, Strangers, strangers_prompt

PROMPT = 100


class MadeUp(Client):
    """Answers what it is told: a share of the prompt from the cache, then evictions."""

    def __init__(self, cached: int, evicts: int = 0, claims: int | None = None) -> None:
        super().__init__(1)
        self.cached = cached
        self.claims = cached if claims is None else claims
        self.evicts = evicts
        self.sent: list[list[dict[str, str]]] = []
        self.records: list[dict[str, Any]] = []

    def chat(self, messages: list[dict[str, str]], rid: str) -> Reply:
        self.sent.append(list(messages))
        self.records.append(
            {"rid": rid, "prompt": PROMPT, "cached": self.claims, "reasons": ["the rest"]}
        )
        return Reply(rid, f"answer {len(self.sent)}", PROMPT, self.cached, 1.0)

    def cache(self) -> dict[str, Any]:
        gone = self.evicts * len(self.sent)
        stats = {"full_evictable_tokens": 300, "evicted_tokens": gone, "evicted_states": 0}
        return {"stats": stats, "requests": self.records}


def play(client: Client, *script: Ask | Strangers) -> tuple[Sequence[Row], list[str]]:
    player = Player(client)
    return list(player.play(script)), player.doubts


@pytest.mark.parametrize(
    ("ask", "cached", "doubts"),
    [
        (Ask("a", "1", "?", least=0.5), 49, 1),
        (Ask("a", "1", "?", least=0.5), 50, 0),
        (Ask("a", "1", "?", most=0.25), 26, 1),
        (Ask("a", "1", "?", most=0.25), 25, 0),
    ],
)
def test_a_share_outside_its_bounds_is_doubted(ask: Ask, cached: int, doubts: int) -> None:
    assert len(play(MadeUp(cached), ask)[1]) == doubts


def test_answer_and_cache_must_agree() -> None:
    _, doubts = play(MadeUp(50, claims=49), Ask("a", "1", "?"))
    assert doubts == ["a: the answer says 50 of 100 tokens were cached, the cache says 49 of 100"]


def test_a_miss_without_a_reason_is_doubted() -> None:
    client = MadeUp(50)
    client.chat = _without_reasons(client)  # type: ignore[method-assign]
    assert play(client, Ask("a", "1", "?"))[1] == ["a: no reason for what was not cached"]


def _without_reasons(client: MadeUp) -> Any:
    chat = client.chat

    def answer(messages: list[dict[str, str]], rid: str) -> Reply:
        reply = chat(messages, rid)
        client.records[-1]["reasons"] = []
        return reply

    return answer


def test_strangers_come_until_what_was_cached_is_gone() -> None:
    rows, doubts = play(MadeUp(0, evicts=110), Strangers("stranger", most=9))
    assert [row.label for row in rows] == ["stranger 1", "stranger 2", "stranger 3"]
    assert not doubts


def test_strangers_who_evict_nothing_are_doubted() -> None:
    rows, doubts = play(MadeUp(0), Strangers("stranger", most=4))
    assert len(rows) == 4
    assert doubts == ["4 strangers evicted 0 tokens; 300 were cached before them"]


def test_a_conversation_carries_its_answers_and_a_repeat_does_not() -> None:
    client = MadeUp(50)
    play(client, Ask("a", "1", "one"), Ask("b", "1", "two"), Ask("c", "1", None))
    roles = [[message["role"] for message in sent] for sent in client.sent]
    assert roles[0] == ["system", "user"]
    assert roles[1] == ["system", "user", "assistant", "user"]
    assert client.sent[2] == client.sent[1]


def test_the_script_asks_for_hits_and_for_misses() -> None:
    """A cache that never hits and one that always does are both found out."""
    for cached in (0, 99):
        doubts = play(MadeUp(cached, evicts=100), *SCRIPT)[1]
        assert any("chat" in doubt for doubt in doubts)


def test_strangers_share_no_beginning() -> None:
    prompts = [strangers_prompt(number) for number in range(1, 17)]
    assert len({prompt.split(" ")[0] for prompt in prompts}) == len(prompts)
    assert prompts[3] == strangers_prompt(4)
