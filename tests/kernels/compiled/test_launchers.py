"""Every launcher's own launch, as far as the compiled kernel: the JIT takes its arguments."""

from __future__ import annotations

import pytest
import torch
from arenas import column
from gpu_targets import CUDA, HIP
from launches import LAUNCHES, SLOT, pair
from no_gpu_driver import compiling_for

from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.copy_order import Batch, Kind
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.state_codec import StateCodec, forms_of
from cachepawl.pool.triton_movement import TritonMovement
from cachepawl_kernels import zero_slots
from cachepawl_launch.movement import _try_forks


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


@pytest.mark.parametrize("conv", [((4, 16),), ()], ids=["conv", "no conv"])
def test_states_compile_nothing_that_a_trial_did_not(conv: tuple[tuple[int, int], ...]) -> None:
    geometry = Geometry(
        KvShape(1, 1, 8, 8, 2), StateShape(2, conv, 2, (4, 16, 24), 4), 4, 6
    ).with_checkpoints("int8")  # fmt: skip
    dtypes = ArenaDtypes(torch.bfloat16, torch.bfloat16, torch.float32)
    with compiling_for(CUDA[1]) as built:
        # Nothing ran, so the bytes are not what they should be.
        with pytest.raises(RuntimeError, match="conversion"):
            _try_forks(TritonMovement(), "cpu", forms_of(geometry, dtypes).small())
        tried = {id(kernel) for kernel in built}
        arena = Arena(geometry, geometry.total_bytes, "cpu", dtypes, TritonMovement())
        codec, per = StateCodec(arena), geometry.checkpoints_per_frame
        codec.copy(Batch(Kind.COMPRESS, [1, 2], [3 * per, 3 * per + 1]))
        codec.copy(Batch(Kind.MOVE, [3 * per], [4 * per + 1]))
        codec.copy(Batch(Kind.EXPAND, [4 * per + 1], [1]))
    assert len(built) == 6
    assert {id(kernel) for kernel in built} == tried
    assert len(tried) == 3
