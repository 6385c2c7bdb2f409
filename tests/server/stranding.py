"""Jobs that strand pages of a few running requests in many frames, at a frame of 22 tokens."""

from __future__ import annotations

import random

from harness import tokens

Job = tuple[list[int], int]
PAGES = 22
"""Pages of a frame."""
FEW = 12
"""Requests at once that leave room enough: nothing is moved for them."""
LONG = 110
"""Tokens of an answer that outlives the others."""
FRAME = 11264
"""Bytes of a frame of the tiny NemotronH at page 1: one state, or the KV of 22 tokens."""


def jobs_of(long: int, short: int) -> list[Job]:
    """Long answers of which a third ends early, then prompts of a few tokens."""
    draw = random.Random(long)
    first = [
        (tokens(4000 + i, draw.randrange(8, 30)), 20 if i % 3 == 0 else LONG) for i in range(long)
    ]
    return first + [(tokens(5000 + i, 3), 2 + i % 5) for i in range(short)]


def arena_of(frames: int) -> list[str]:
    """Flags of an arena of so many frames, the sink not counted."""
    return ["--cachepawl-device-gb", f"{(frames + 1) * FRAME / 2**30:.9f}"]
