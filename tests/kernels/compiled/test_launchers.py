"""Every launcher's own launch, as far as the compiled kernel: the JIT takes its arguments."""

from __future__ import annotations

import pytest
from arenas import column
from gpu_targets import CUDA, HIP
from launches import LAUNCHES, SLOT, pair
from no_gpu_driver import compiling_for

from cachepawl_kernels import zero_slots


@pytest.mark.parametrize("target", [CUDA[1], HIP[0]], ids=["sm_90", "gfx942"])
@pytest.mark.parametrize("op", LAUNCHES)
def test_the_jit_takes_it(op: str, target: object) -> None:
    with compiling_for(target) as built:
        LAUNCHES[op].call(*pair("cpu"))
    (kernel,) = built
    assert kernel.asm["cubin" if target in CUDA else "hsaco"]


def test_one_slot_and_another_are_one_kernel() -> None:
    """Ids at any address, any number of slots: nothing is compiled anew while it serves."""
    arena, _ = pair("cpu")
    table = column(*range(64))
    with compiling_for(CUDA[1]) as built:
        for stop in (4, 5, 8):
            zero_slots(arena, SLOT, table[3:stop])
            zero_slots(arena[: 4096 * stop], SLOT._replace(row_bytes=16), table[2:3])
    assert len({id(kernel) for kernel in built}) == 1
