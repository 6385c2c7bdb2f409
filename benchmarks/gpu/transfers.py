"""Gather and scatter between an arena and a staging buffer: whole pages, and one layer of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.gpu.bench import POISON, Bench, Row, gbps, must_equal
from cachepawl_kernels import UnitLayout, gather, scatter
from cachepawl_kernels.transfer.reference import units_of

PAGE_TOKENS = 16


def measure(bench: Bench) -> Iterator[Row]:
    """Two layouts, two directions."""
    page = bench.sizes.page_bytes // PAGE_TOKENS * PAGE_TOKENS
    entry = page // PAGE_TOKENS
    layer = max(entry // 12 // 16 * 16, 16)
    layouts = {
        "whole pages": UnitLayout(page, page),
        "one layer of pages": UnitLayout(page, layer, PAGE_TOKENS, entry, base=layer),
    }
    arena = bench.arena()
    for name, layout in layouts.items():
        yield from _both(bench, arena, name, layout)


def _both(bench: Bench, arena: torch.Tensor, name: str, layout: UnitLayout) -> list[Row]:
    units = layout.units_in(arena.numel())
    count = min(bench.sizes.pages, units)
    ids = torch.randperm(units, generator=torch.Generator().manual_seed(0))[:count]
    view, on_device = units_of(arena, layout), ids.to(bench.device)
    moved = count * layout.rows * layout.row_bytes
    staging = torch.full((moved,), POISON, dtype=torch.uint8, device=bench.device)
    packed = staging.view(count, layout.rows, layout.row_bytes)

    def out() -> None:
        gather(staging, arena, layout, ids)

    def back() -> None:
        scatter(arena, layout, ids, staging)

    expected = view[on_device]
    out()
    must_equal(f"gather of {name}", packed, expected)
    view[on_device] = POISON
    back()
    must_equal(f"scatter of {name}", view[on_device], expected)

    def torch_out() -> None:
        packed.copy_(view[on_device])

    def torch_back() -> None:
        view[on_device] = packed

    twin = torch.empty_like(staging)
    one_us = bench.device_us(lambda: twin.copy_(staging))
    rows = []
    for verb, ours, theirs in (("gather", out, torch_out), ("scatter", back, torch_back)):
        ours_us = bench.device_us(ours)
        rows.append({
            "row": f"{verb} of {name}", "units": count, "row_bytes": layout.row_bytes,
            "moved_bytes": moved, "ours_us": ours_us, "ours_gbps": gbps(2 * moved, ours_us),
            "one_copy_us": one_us, "of_copy": round(one_us / ours_us, 3),
            "host_us": bench.host_us(ours), "torch_us": bench.device_us(theirs),
        })  # fmt: skip
    return rows
