"""A hybrid model in the proportions of Qwen3-Next, with a 64th of its bytes: a CPU can copy them.

A state is as much as the KV of about 3000 tokens, as there.
"""

from __future__ import annotations

from cachepawl.pool.geometry import Geometry, KvShape, StateShape

PAGE = 16
GRID = 64
ATTENTION, LINEAR = (3, 7, 11), (0, 1, 2, 4, 5, 6, 8, 9, 10)
"""Layers by kind."""
HEADS, HEAD_DIM, ITEM = 1, 32, 2
STATE_HEADS, STATE_DIM, CONV = 8, 64, 4
CONV_WIDTH = STATE_HEADS * STATE_DIM + 2 * STATE_DIM
"""Channels of the short convolution, in SGLang's arithmetic of a Mamba-2 layer."""


def shapes(budget: int) -> Geometry:
    """An arena of so many bytes."""
    kv = KvShape(len(ATTENTION), HEADS, HEAD_DIM, HEAD_DIM, ITEM)
    temporal = (STATE_HEADS, STATE_DIM, STATE_DIM)
    state = StateShape(len(LINEAR), ((CONV_WIDTH, CONV - 1),), 4, temporal, 4)
    return Geometry(kv, state, PAGE, 2).with_budget(budget)
