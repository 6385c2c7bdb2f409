"""States of many formats for the tests of a fork."""

from __future__ import annotations

import torch
from arenas import Fenced, fenced

from cachepawl_kernels.fork.layout import Format, StateLayout, packed_layout

HARD = [
    0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"),
    3.4028234663852886e38, -3.4028234663852886e38, 3.3961775292304e38, 65504.0, 65519.99, 65520.0,
    -70000.0, 448.0, 464.0, 5e-324, 1e-45, -1e-45, 1.1754943508222875e-38, 6e-8, 2.98e-8, 1e-5,
    1.00390625, 1.01171875, 0.1, -0.3, 127.5, 126.5, 2.0**-9, 2.0**-10, 3 * 2.0**-10,
]  # fmt: skip
"""Ties, ends of ranges, what is no number."""


def numbers(count: int, seed: int, *, finite: bool) -> torch.Tensor:
    """`(count,)` float32 of all magnitudes; unless `finite`, some of `HARD` among them."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=source)
    x *= torch.exp2(torch.randint(-20, 20, (count,), generator=source).float())
    if not finite:
        hard = torch.tensor(HARD)
        chosen = torch.randint(0, len(HARD), (count // 8,), generator=source)
        x[torch.randperm(count, generator=source)[: count // 8]] = hard[chosen]
    return x


def layout_of(formats: tuple[Format, ...], elements: tuple[int, ...], pad: int = 48) -> StateLayout:
    """Parts one after another, and slots with some bytes to spare."""
    tight = packed_layout(formats, elements)
    return tight._replace(stride=tight.stride + pad)


def arena_of(layout: StateLayout, slots: int, device: torch.device, seed: int = 0) -> Fenced:
    """Random bytes; none of the scales is NaN, so that what is random is numbers."""
    fence = fenced(slots * layout.stride, device, seed)
    for slot in range(slots):
        for part in layout.parts:
            if part.scales is not None:
                at = slot * layout.stride + part.scales
                scales = torch.rand(part.scale_bytes // 4, device=device) + 0.01
                fence.arena[at : at + part.scale_bytes] = scales.view(torch.uint8)
    return fence


def write_part(fence: Fenced, layout: StateLayout, slot: int, part: int, x: torch.Tensor) -> None:
    """Put float32 numbers into a part of format FP32."""
    chosen = layout.parts[part]
    assert chosen.format == Format.FP32
    at = slot * layout.stride + chosen.offset
    fence.arena[at : at + chosen.nbytes] = x.view(torch.uint8).to(fence.arena.device)
