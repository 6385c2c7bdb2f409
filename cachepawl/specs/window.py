"""Attention over the last `window` tokens only."""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.attention import Attention


@dataclass(frozen=True)
class WindowAttention:
    """KV of a token leaves once `window` newer tokens, itself counted, have come."""

    attention: Attention
    window: int


def causal_pairs(tokens: int, prefix: int, window: int | None = None) -> int:
    """(query, key) pairs when `tokens` tokens follow `prefix` tokens.

    Token i, counted from 1, sees `prefix + i` tokens, at most `window`.
    """
    if window is None or prefix + tokens <= window:
        return tokens * prefix + tokens * (tokens + 1) // 2
    growing = max(window - prefix, 0)
    return causal_pairs(growing, prefix) + (tokens - growing) * window
