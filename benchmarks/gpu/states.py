"""Forking states: from slot to slot, with and without another format.

`of_copy`: read and written bytes a second over those of one device-to-device copy of the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.bench import POISON, Bench, Row, gbps, must_equal
from benchmarks.gpu.sections import attempt
from cachepawl_kernels import Format, fork_states
from cachepawl_kernels.fork.layout import packed_layout
from cachepawl_kernels.fork.reference import fork_states_reference

PAIRS = (
    (Format.FP32, Format.FP32),
    (Format.FP32, Format.BF16),
    (Format.BF16, Format.FP32),
    (Format.FP32, Format.FP16),
    (Format.FP32, Format.E4M3),
    (Format.E4M3, Format.FP32),
    (Format.FP32, Format.INT8),
    (Format.INT8, Format.FP32),
)
SLOTS = 2


def measure(bench: Bench) -> Iterator[Row]:
    """A row a pair of formats of the temporal part; the conv part stays bfloat16."""
    temporal = bench.sizes.state_bytes // 4 // 128 * 128
    elements = (temporal // 32 // 16 * 16, temporal)
    for came, to in PAIRS:
        name = f"fork {came.name} to {to.name}"
        yield attempt(name, partial(_fork, bench, name, elements, came, to))


def _fork(bench: Bench, name: str, elements: tuple[int, int], came: Format, to: Format) -> Row:
    old, new = (packed_layout((Format.BF16, form), elements) for form in (came, to))
    source = _numbers(bench, elements, came)
    ours = torch.full((SLOTS * new.stride,), POISON, dtype=torch.uint8, device=bench.device)
    expected = ours.clone()
    slots = torch.arange(SLOTS)

    def fork() -> None:
        fork_states(ours, new, slots, source, old, slots)

    fork()
    fork_states_reference(expected, new, slots, source, old, slots)
    must_equal(name, ours, expected)
    del expected
    touched = SLOTS * (old.end + new.end)
    twin = torch.empty_like(source)
    one_us, ours_us = bench.device_us(lambda: twin.copy_(source)), bench.device_us(fork)
    one, mine = gbps(2 * source.numel(), one_us), gbps(touched, ours_us)
    return {
        "row": name, "states": SLOTS, "touched_bytes": touched,
        "ours_us": ours_us, "ours_gbps": mine, "one_copy_gbps": one,
        "of_copy": round(mine / one, 3), "host_us": bench.host_us(fork),
    }  # fmt: skip


def _numbers(bench: Bench, elements: tuple[int, int], form: Format) -> torch.Tensor:
    """States of ordinary numbers in `form`."""
    wide, narrow = (packed_layout((Format.BF16, kind), elements) for kind in (Format.FP32, form))
    states = torch.zeros(SLOTS * wide.stride, dtype=torch.uint8, device=bench.device)
    states.view(torch.float32).normal_()
    source = torch.zeros(SLOTS * narrow.stride, dtype=torch.uint8, device=bench.device)
    slots = torch.arange(SLOTS)
    fork_states_reference(source, narrow, slots, states, wide, slots)
    return source
