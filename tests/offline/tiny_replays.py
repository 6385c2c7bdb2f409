"""Tiny models, tiny arenas, requests of a few tokens."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.specs import LayerSpec, ModelSpec
from cachepawl.specs.attention import Attention
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.shortconv import ShortConv
from cachepawl.types import Key

ATTENTION = Attention(1, 1, 8, 8)
SPECS = {
    "mamba": ModelSpec("mamba", 8, (LayerSpec((ATTENTION, Mamba2(2, 8, 1, 8, 4)), 100),)),
    "conv": ModelSpec("conv", 8, (LayerSpec((ATTENTION, ShortConv(64, 3)), 100),)),
    "attention": ModelSpec("attention", 8, (LayerSpec((ATTENTION,), 100),)),
}
"""One of each way to keep states; 32 bytes of KV a token."""
PAGES = {"mamba": 4, "conv": 1, "attention": 4}
GRID = 8
AMPLE = 1 << 24


def request(tokens: Sequence[int], output: int = 1, at: float = 0.0) -> TraceRequest:
    return TraceRequest(at, Key(array("q", tokens).tobytes()), output, "")


def scenario(kind: str = "mamba", frames: int | None = None, **more: Any) -> Scenario:
    """Of `frames` frames, the padding one included; ample bytes by default."""
    grid = GRID if kind == "mamba" else PAGES[kind]
    usual = {"policy": "lru", "page": PAGES[kind], "grid": grid, "chunk": 64}
    made = Scenario(SPECS[kind], AMPLE, **{**usual, **more})
    if frames is None:
        return made
    return replace(made, budget=frames * made.geometry.frame_bytes + 5)


# Words of a page and a half, so that prompts part on pages and inside them.
WORDS = st.lists(st.integers(0, 2), min_size=1, max_size=9)
PROMPTS = st.tuples(WORDS, st.integers(0, 5)).map(
    lambda made: [t for w in made[0] for t in (w, 7, w, 8, w, 9)] + [5] * made[1]
)
REQUESTS = st.lists(
    st.builds(request, PROMPTS, st.sampled_from([0, 1, 3, 20, 300])), min_size=1, max_size=14
)


def write_trace(path: Path, requests: int = 40, block: int = 512) -> Path:
    """A trace of conversations of growing prompts, in Mooncake's format."""
    lines = []
    for i in range(requests):
        talk, turn = i % 5, i // 5
        blocks = [0, *(1000 * talk + n for n in range(1, 2 * turn + 2)), 10**6 + i]
        lines.append({"timestamp": 1000 * i, "input_length": block * len(blocks) - 100,
                      "output_length": 10 + turn, "hash_ids": blocks})  # fmt: skip
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path
