"""Depths of a prompt where others are likely to leave it: where the first user speaks, or as told.

A state there serves the second conversation under a system prompt; without it the second could
only find out that there is something to share, and the third would use it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from cachepawl.types import TOKEN_BYTES

PARAMETER = "cachepawl_checkpoints"
"""In a request's `custom_params`: one depth in tokens, or a list of them."""


def aligned_find(tokens: bytes, ids: bytes) -> int:
    """The token position where `ids` first occur in `tokens`, or -1."""
    at = tokens.find(ids)
    while at >= 0 and at % TOKEN_BYTES:
        at = tokens.find(ids, at + 1)
    return at // TOKEN_BYTES if at >= 0 else -1


class Marks:
    """Finds the marks of prompts."""

    def __init__(self, opening: Sequence[int]) -> None:
        """`opening`: ids that open a user's turn; none if they are not known."""
        self._opening = array("q", opening).tobytes()
        self.refused = 0
        """Requests whose `cachepawl_checkpoints` made no sense."""

    def of(self, tokens: bytes, custom: Any) -> list[int]:
        """Depths in tokens, ascending; those that the client names, else the first user's turn.

        `tokens` as in a key; `custom` the request's `custom_params`, whatever was sent.
        Costs one search through the tokens.
        """
        named = custom.get(PARAMETER) if isinstance(custom, dict) else None
        if named is not None:
            return self._named(named, len(tokens) // TOKEN_BYTES)
        if not self._opening:
            return []
        at = aligned_find(tokens, self._opening)
        return [] if at < 0 else [at + len(self._opening) // TOKEN_BYTES]

    def _named(self, named: Any, prompt: int) -> list[int]:
        depths = named if isinstance(named, list) else [named]
        if all(type(depth) is int and 0 < depth <= prompt for depth in depths):
            return sorted(depths)
        self.refused += 1
        return []
