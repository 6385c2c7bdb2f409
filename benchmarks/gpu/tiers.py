"""Two tiers of a real model's shapes for the host sections; tiny ones for a dry run."""

from __future__ import annotations

from typing import NamedTuple

import torch

from benchmarks.gpu.bench import MIB, Bench
from cachepawl.offload.arena_transfers import Side
from cachepawl.offload.host_arena import HostArena
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.specs.presets import preset

MODEL, PAGE_TOKENS = "qwen3-next-80b-a3b", 16
"""Pages of 384 KiB, states of 73.7 MiB."""
TINY = Geometry(KvShape(3, 1, 8, 8, 2), StateShape(2, ((3, 8),), 2, (8, 3, 8), 4), 2)
DEVICE_BYTES = HOST_BYTES = 2048 * MIB


class Tiers(NamedTuple):
    """Both arenas with random bytes; close the host's when done."""

    device: Side
    arena: HostArena
    host: Side


def shapes_for(device: torch.device) -> Geometry:
    """The model's on a GPU, without a number of frames."""
    return geometry_from_spec(preset(MODEL).spec(), PAGE_TOKENS) if device.type == "cuda" else TINY


def open_tiers(bench: Bench) -> Tiers:
    """2 GiB a side on a GPU, six frames in a dry run."""
    on_gpu = bench.device.type == "cuda"
    shapes = shapes_for(bench.device)
    budget = DEVICE_BYTES if on_gpu else 6 * shapes.frame_bytes
    geometry = shapes.with_budget(budget)
    device = Side(bench.arena(geometry.total_bytes), geometry)
    arena = HostArena(shapes, budget, pinned=on_gpu)
    host = arena.raw[: arena.geometry.total_bytes]
    host.copy_(bench.arena(host.numel()).flip(0))
    return Tiers(device, arena, Side(arena.raw, arena.geometry))


def side_stream(bench: Bench) -> torch.cuda.StreamContext:
    """A stream that is not the default one, where batches of copies are not allowed."""
    stream = torch.cuda.Stream(bench.device) if bench.device.type == "cuda" else None
    return torch.cuda.stream(stream)
