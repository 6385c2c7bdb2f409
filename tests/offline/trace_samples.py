"""Writes small traces of every format, and says what a reader has to make of them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

BLOCK = {"mooncake": 512, "bailian": 16, "claude-code": 64, "marconi": 1}


class Asked(NamedTuple):
    """A request as drawn: block ids of the prompt, the tokens of the last one, the rest."""

    at_ms: int
    ids: list[int]
    last: int
    output: int
    session: int


def asked(block: int) -> st.SearchStrategy[list[Asked]]:
    """Requests in the order of their time."""
    one = st.builds(
        Asked,
        at_ms=st.integers(0, 10**6),
        ids=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6),
        last=st.integers(1, block),
        output=st.integers(0, 3000),
        session=st.integers(0, 5),
    )
    return st.lists(one, min_size=1, max_size=8).map(
        lambda some: sorted(some, key=lambda r: r.at_ms)
    )


def tokens_of(request: Asked, block: int) -> list[int]:
    """The prompt's token ids: each block's id as often as it has tokens."""
    whole = [token for i in request.ids[:-1] for token in [i] * block]
    return whole + [request.ids[-1]] * request.last


def lines_of(format: str, requests: list[Asked]) -> list[str]:
    """The trace's lines."""
    return [json.dumps(value) for value in OBJECTS[format](requests)]


def _mooncake(requests: list[Asked]) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": r.at_ms,
            "input_length": (len(r.ids) - 1) * 512 + r.last,
            "output_length": r.output,
            "hash_ids": r.ids,
        }
        for r in requests
    ]


def _bailian(requests: list[Asked]) -> list[dict[str, Any]]:
    """Each session is a chain of chats."""
    latest: dict[int, int] = {}
    out = []
    for chat, r in enumerate(requests):
        out.append(
            {
                "chat_id": chat,
                "parent_chat_id": latest.get(r.session, -1),
                "timestamp": r.at_ms / 1000,
                "input_length": (len(r.ids) - 1) * 16 + r.last,
                "output_length": r.output,
                "type": "text",
                "turn": 1,
                "hash_ids": r.ids,
            }
        )
        latest[r.session] = chat
    return out


def _claude_code(requests: list[Asked]) -> list[dict[str, Any]]:
    """One conversation for each session, all its requests from the first one's time on."""
    out = []
    for session in sorted({r.session for r in requests}):
        own = [r for r in requests if r.session == session]
        out.append(
            {
                "id": f"trace_{session}",
                "block_size": 64,
                "hash_id_scope": "local",
                "tool_tokens": 0,
                "system_tokens": 0,
                "requests": [
                    {
                        "t": (r.at_ms - own[0].at_ms) / 1000,
                        "type": "n",
                        "in": (len(r.ids) - 1) * 64 + r.last,
                        "out": r.output,
                        "hash_ids": r.ids,
                    }
                    for r in own
                ],
            }
        )
    return out


def _marconi(requests: list[Asked]) -> list[dict[str, Any]]:
    return [
        {
            "session_id": r.session,
            "turn_id": 0,
            "ts": r.at_ms / 1000,
            "num_input_tokens": len(r.ids),
            "num_output_tokens": r.output % 9,
            "input_tokens": r.ids,
            "output_tokens": [1] * (r.output % 9),
        }
        for r in requests
    ]


OBJECTS = {
    "mooncake": _mooncake,
    "bailian": _bailian,
    "claude-code": _claude_code,
    "marconi": _marconi,
}
