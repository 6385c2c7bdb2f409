"""A small arena of a hybrid model, filled, and a contiguous twin of each of its views."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

# fp16 throughout: the interpreter's dot product of bfloat16 is wrong.
HEADS, DIM, LAYERS, PAGE = 2, 32, 2, 4
STATE_HEADS, STATE_DIM, STATE_SIZE = 4, 16, 16
CONV_DIM, CONV_WIDTH = 96, 4
GEOMETRY = Geometry(
    KvShape(LAYERS, HEADS, DIM, DIM, 2),
    StateShape(3, ((CONV_DIM, CONV_WIDTH - 1),), 2, (STATE_HEADS, STATE_DIM, STATE_SIZE), 4),
    PAGE,
    num_frames=7,
)
SLOTS = (1, 3, 5)
"""Frames that hold states; 2 and 4 hold KV, 0 is the sink."""


class Views(NamedTuple):
    """The arena and its views of one layer: what a kernel gets while it serves."""

    arena: Arena
    k: torch.Tensor
    v: torch.Tensor
    conv: torch.Tensor
    temporal: torch.Tensor


def filled(device: torch.device, layer: int = 1) -> Views:
    """Random numbers in every KV frame and every state."""
    dtypes = ArenaDtypes(torch.float16, torch.float16, torch.float32)
    arena = Arena(GEOMETRY, GEOMETRY.total_bytes, str(device), dtypes)
    torch.manual_seed(0)
    views = Views(
        arena, arena.k_view(layer), arena.v_view(layer), arena.conv_view(0)[layer],
        arena.temporal_view()[layer],
    )  # fmt: skip
    for location in locations(device):
        for view in (views.k, views.v):
            view[location] = torch.randn(HEADS, DIM).to(view)
    for slot in SLOTS:
        views.conv[slot] = torch.randn(CONV_DIM, CONV_WIDTH - 1).to(views.conv)
        views.temporal[slot] = torch.randn(STATE_HEADS, STATE_DIM, STATE_SIZE).to(views.temporal)
    return views


def locations(device: torch.device) -> torch.Tensor:
    """Token ids of a sequence of 7 tokens in frame 2 and one of 5 in frame 4."""
    first = GEOMETRY.tokens_per_frame
    return torch.tensor([*range(2 * first, 2 * first + 7), *range(4 * first, 4 * first + 5)]).to(
        device
    )


def slots(device: torch.device) -> torch.Tensor:
    """`SLOTS` as SGLang passes them."""
    return torch.tensor(SLOTS, dtype=torch.int32, device=device)
