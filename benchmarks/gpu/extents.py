"""Copying and clearing extents: ours, torch's indexing, SGLang's page kernels, one big copy.

`of_copy` is our share of the bandwidth of one device-to-device copy of as many bytes, measured
in the same run; `of_memset` the same for clearing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.gpu import optional
from benchmarks.gpu.bench import POISON, Bench, Row, gbps, must_equal, spread
from benchmarks.gpu.sections import attempt
from cachepawl_kernels import copy_extents, zero_extents
from cachepawl_kernels.copy.reference import copy_extents_reference


def measure(bench: Bench) -> Iterator[Row]:
    """A row an extent size, for copies and for clearing, and the mixed launch."""
    arena = bench.arena()
    for size in bench.sizes.extents:
        yield attempt(f"copy, {size} bytes", partial(_copy, bench, arena, size))
        yield attempt(f"zero, {size} bytes", partial(_zero, bench, arena, size))
    yield attempt("copy of a state and pages", partial(_mixed, bench, arena))


def _copy(bench: Bench, arena: torch.Tensor, size: int) -> Row:
    half = arena.numel() // 2
    count = max(1, min(bench.sizes.moved_bytes, half) // size)
    src, dst = spread(count, size, half), spread(count, size, half, seed=1) + half // size * size
    lengths = torch.full_like(src, size)

    def ours() -> None:
        copy_extents(arena, dst, arena, src, lengths)

    _check_copy(arena, src, dst, size, ours)
    units = arena[: arena.numel() // size * size].view(-1, size)
    to, came = (column.div(size, rounding_mode="floor").to(arena.device) for column in (dst, src))

    def indexing() -> None:
        units[to] = units[came]

    moved = count * size
    one_us = bench.device_us(lambda: arena[half : half + moved].copy_(arena[:moved]))
    ours_us = bench.device_us(ours)
    return {
        "row": "copy", "extent_bytes": size, "extents": count, "moved_bytes": moved,
        "ours_us": ours_us, "ours_gbps": gbps(2 * moved, ours_us), "one_copy_us": one_us,
        "of_copy": round(one_us / ours_us, 3), "host_us": bench.host_us(ours),
        "torch_us": bench.device_us(indexing),
        "sglang_us": optional.copy_pages_us(bench, arena, to, came, size),
    }  # fmt: skip


def _check_copy(
    arena: torch.Tensor, src: torch.Tensor, dst: torch.Tensor, size: int, ours: Callable[[], None]
) -> None:
    """Destinations are poisoned first; a few extents, the first and the last of all, compared."""
    units = arena[: arena.numel() // size * size].view(-1, size)
    places = (dst // size).to(arena.device)
    units[places] = POISON
    expected = units[(src // size).to(arena.device)]
    ours()
    must_equal(f"copy of extents of {size} bytes", units[places], expected)


def _zero(bench: Bench, arena: torch.Tensor, size: int) -> Row:
    count = max(1, min(bench.sizes.moved_bytes, arena.numel()) // size)
    offsets = spread(count, size, arena.numel())
    lengths = torch.full_like(offsets, size)
    units = arena[: arena.numel() // size * size].view(-1, size)
    places = (offsets // size).to(arena.device)

    def ours() -> None:
        zero_extents(arena, offsets, lengths)

    def indexing() -> None:
        units[places] = 0

    units[places] = POISON
    ours()
    must_equal(f"zero of extents of {size} bytes", units[places], torch.zeros_like(units[places]))
    moved = count * size
    one_us = bench.device_us(lambda: arena[:moved].zero_())
    ours_us = bench.device_us(ours)
    return {
        "row": "zero", "extent_bytes": size, "extents": count, "moved_bytes": moved,
        "ours_us": ours_us, "ours_gbps": gbps(moved, ours_us), "one_memset_us": one_us,
        "of_memset": round(one_us / ours_us, 3), "host_us": bench.host_us(ours),
        "torch_us": bench.device_us(indexing),
        "sglang_us": optional.zero_pages_us(bench, arena, places, size),
    }  # fmt: skip


def _mixed(bench: Bench, arena: torch.Tensor) -> Row:
    """A state and many pages in one launch."""
    sizes, half = bench.sizes, arena.numel() // 2
    lengths = torch.tensor([sizes.state_bytes] + [sizes.page_bytes] * sizes.pages)
    src = lengths.cumsum(0) - lengths
    moved = int(lengths.sum())
    expected = arena[half : half + moved].clone()
    copy_extents_reference(expected, src, arena, src, lengths)
    arena[half : half + moved] = POISON

    def ours() -> None:
        copy_extents(arena, src + half, arena, src, lengths)

    ours()
    must_equal("copy of a state and pages", arena[half : half + moved], expected)
    one_us = bench.device_us(lambda: arena[half : half + moved].copy_(arena[:moved]))
    ours_us = bench.device_us(ours)
    return {
        "row": "copy of a state and pages", "extents": len(lengths), "moved_bytes": moved,
        "ours_us": ours_us, "ours_gbps": gbps(2 * moved, ours_us), "one_copy_us": one_us,
        "of_copy": round(one_us / ours_us, 3), "host_us": bench.host_us(ours),
    }  # fmt: skip
