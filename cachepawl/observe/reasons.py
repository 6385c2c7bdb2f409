"""Why a prompt was not served from the cache as far as it could have been."""

from __future__ import annotations

from typing import NamedTuple

NOTHING_CACHED = "nothing cached"
NO_STATE = "KV without a state"
STATE_AT_END = "state only at the prompt's end"
LAST_TOKEN = "computed again for the last token"
DROPPED = "prefix dropped to make room"


class MissReason(NamedTuple):
    """Tokens of one prompt that have to be computed for one reason."""

    reason: str
    tokens: int

    def __str__(self) -> str:
        return f"{self.tokens} {self.reason}"


def explain(prompt: int, kv_len: int, usable_len: int, *, beyond: str) -> list[MissReason]:
    """Split `[usable_len, prompt)` by reason; the tokens add up.

    `kv_len` is how far KV is cached, `usable_len` how far it can be used (tokens), and
    `beyond` why the KV between the two cannot.
    """
    out = []
    cached = max(min(kv_len, prompt), usable_len)
    if cached > usable_len:
        out.append(MissReason(beyond, cached - usable_len))
    if prompt > cached:
        out.append(MissReason(NOTHING_CACHED, prompt - cached))
    return out
