"""Ages in levels: 0 is the first four seconds, level k is from 4^k to 4^(k+1) seconds."""

from __future__ import annotations

FIRST = 4000
"""Milliseconds of level 0."""
LAST = 8
"""The level of everything from 2^16 seconds (18 hours) on."""
LEVELS = LAST + 1
EDGES = (0, *(FIRST << 2 * k for k in range(LAST)))
"""Milliseconds at which each level begins."""
WIDTHS = (FIRST / 1000, *(3 * FIRST / 1000 * 4**k for k in range(LAST)))
"""Seconds that each level lasts; the last one is taken to end as well."""


def level_of(age: int) -> int:
    """The level of an age in milliseconds, at least 0."""
    return min(((age // FIRST).bit_length() + 1) // 2, LAST)
