"""Why a prompt was not served from the cache as far as it could have been."""

from __future__ import annotations

from typing import NamedTuple

NOTHING_CACHED = "nothing cached"
NO_STATE = "KV without a state"
STATE_AT_END = "state only at the prompt's end"
DROPPED = "prefix dropped to make room"


class MissReason(NamedTuple):
    """Tokens of one prompt that have to be computed for one reason."""

    reason: str
    tokens: int

    def __str__(self) -> str:
        return f"{self.tokens} {self.reason}"


def explain(prompt: int, kv_len: int, usable_len: int, *, state_at_end: bool) -> list[MissReason]:
    """Split `[usable_len, prompt)` by reason; the tokens add up.

    `kv_len` is how far KV is cached, `usable_len` how far it can be used (tokens).
    `state_at_end`: a state is cached at the prompt's very end, which cannot be used
    because the last token is always computed.
    """
    out = []
    cached = max(min(kv_len, prompt), usable_len)
    if cached > usable_len:
        out.append(MissReason(STATE_AT_END if state_at_end else NO_STATE, cached - usable_len))
    if prompt > cached:
        out.append(MissReason(NOTHING_CACHED, prompt - cached))
    return out
