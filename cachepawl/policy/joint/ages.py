"""Ages in levels: 0 is the first second, level k is from 2^(k-1) to 2^k seconds."""

from __future__ import annotations

LAST = 17
"""The level of everything from 2^16 seconds (18 hours) on."""
LEVELS = LAST + 1
EDGES = (0, *(1000 << k for k in range(LAST)))
"""Milliseconds at which each level begins."""
WIDTHS = (1.0, *(float(1 << k) for k in range(LAST)))
"""Seconds that each level lasts; the last one is taken to end as well."""


def level_of(age: int) -> int:
    """The level of an age in milliseconds, at least 0."""
    return min((age // 1000).bit_length(), LAST)
