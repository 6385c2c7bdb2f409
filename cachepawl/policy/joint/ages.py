"""Ages in levels, for counting, and in steps, for scores.

Level 0 is the first four seconds, level k is from 4^k to 4^(k+1) seconds.  A step is a level, or
half of one from `HALVED` on, where a level is long: each half from its beginning to twice that.
"""

from __future__ import annotations

from bisect import bisect_right

FIRST = 4000
"""Milliseconds of level 0."""
LAST = 8
"""The level of everything from 2^16 seconds (18 hours) on."""
LEVELS = LAST + 1
EDGES = (0, *(FIRST << 2 * k for k in range(LAST)))
"""Milliseconds at which each level begins."""
WIDTHS = (FIRST / 1000, *(3 * FIRST / 1000 * 4**k for k in range(LAST)))
"""Seconds that each level lasts; the last one is taken to end as well."""
HALVED = 4
"""The first level of two steps, which begins at 256 seconds; the last level is whole again."""
LEVEL_OF_STEP = (*range(HALVED), *(k for k in range(HALVED, LAST) for _ in range(2)), LAST)
STEPS = len(LEVEL_OF_STEP)
STEP_OF_LEVEL = tuple(LEVEL_OF_STEP.index(level) for level in range(LEVELS))
"""The step that each level begins with."""
STEP_EDGES = tuple(
    EDGES[level] << (step != STEP_OF_LEVEL[level]) for step, level in enumerate(LEVEL_OF_STEP)
)
"""Milliseconds at which each step begins."""


def level_of(age: int) -> int:
    """The level of an age in milliseconds, at least 0."""
    return min(((age // FIRST).bit_length() + 1) // 2, LAST)


def step_of(age: int) -> int:
    """The step of an age in milliseconds, at least 0."""
    return bisect_right(STEP_EDGES, age) - 1
