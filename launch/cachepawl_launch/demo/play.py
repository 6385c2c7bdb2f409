"""The script played on a server; every number comes from the server's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cachepawl_launch.demo.client import Client
from cachepawl_launch.demo.script import SYSTEM, Ask, Strangers, strangers_prompt

Messages = list[dict[str, str]]


class Row(NamedTuple):
    """One request: what the answer said, and what the cache said about it; tokens."""

    label: str
    prompt: int
    cached: int
    milliseconds: float
    reasons: tuple[str, ...]
    evicted_tokens: int
    evicted_states: int


class Player:
    """Plays the script; `doubts` are the points where the story did not hold."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.section = client.cache()
        self.doubts: list[str] = []
        self._talks: dict[str, Messages] = {}
        self._sent = 0

    def play(self, script: Sequence[Ask | Strangers]) -> Iterator[Row]:
        """The rows, each as soon as its request is answered."""
        for step in script:
            yield from self._ask(step) if isinstance(step, Ask) else self._strangers(step)

    def _ask(self, step: Ask) -> Iterator[Row]:
        talk = self._talks.setdefault(step.talk, [{"role": "system", "content": SYSTEM}])
        if step.text is None:
            talk.pop()  # its answer
        else:
            talk.append({"role": "user", "content": step.text})
        row = self._send(step.label, talk)
        share = row.cached / row.prompt
        if not step.least <= share <= step.most:
            self.doubts.append(
                f"{step.label}: {row.cached} of {row.prompt} tokens were cached, "
                f"expected {step.least:.0%} to {step.most:.0%}"
            )
        yield row

    def _strangers(self, step: Strangers) -> Iterator[Row]:
        """What came back before is worth more than they are: they evict each other."""
        cached = self.section["stats"]["full_evictable_tokens"]
        gone = 0
        for number in range(1, step.most + 1):
            talk = [{"role": "user", "content": strangers_prompt(number)}]
            row = self._send(f"{step.label} {number}", talk)
            self._talks[row.label] = talk
            yield row
            gone += row.evicted_tokens
            if gone >= cached:
                return
        self.doubts.append(
            f"{step.most} strangers evicted {gone} tokens; {cached} were cached before them"
        )

    def _send(self, label: str, messages: Messages) -> Row:
        self._sent += 1
        before = self.section["stats"]
        reply = self.client.chat(messages, f"demo-{self._sent}")
        messages.append({"role": "assistant", "content": reply.text})
        self.section, record = self.client.cache_after(reply.rid)
        after = self.section["stats"]
        row = Row(
            label,
            reply.prompt,
            reply.cached,
            reply.milliseconds,
            tuple(record["reasons"]) if record else (),
            after["evicted_tokens"] - before["evicted_tokens"],
            after["evicted_states"] - before["evicted_states"],
        )
        self._compare(row, record)
        return row

    def _compare(self, row: Row, record: dict[str, Any] | None) -> None:
        """The answer and the cache must tell the same story."""
        if record is None:
            self.doubts.append(f"{row.label}: the cache has no record of this request")
        elif (record["prompt"], record["cached"]) != (row.prompt, row.cached):
            self.doubts.append(
                f"{row.label}: the answer says {row.cached} of {row.prompt} tokens were cached, "
                f"the cache says {record['cached']} of {record['prompt']}"
            )
        elif row.cached < row.prompt and not row.reasons:
            self.doubts.append(f"{row.label}: no reason for what was not cached")
