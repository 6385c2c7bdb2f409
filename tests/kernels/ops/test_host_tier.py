"""The host tier's copies: kernels against torch, and whole transfers on the device at hand.

Interpreted on the CPU, where the kernels copy between two ordinary buffers; on a GPU between
its memory and pinned memory, on streams, with copy engines.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import SHAPES, Tiers, copy_of, tiers

from cachepawl.offload.arena_transfers import Side
from cachepawl.offload.copier import TokenRows, TorchCopier
from cachepawl.offload.copiers import Copiers, copiers_for
from cachepawl.offload.device_lanes import lanes_for
from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.kernel_copier import KernelCopier
from cachepawl.offload.layers import layer_groups
from cachepawl.offload.transfers import Direction, Order, Outcome
from cachepawl.offload.trial import tried
from cachepawl_kernels.arguments import common_device
from cachepawl_kernels.errors import KernelArgumentError

WRITE, LOAD = Direction.WRITE_BACK, Direction.LOAD_BACK
PAGES = 9
IDS = st.lists(st.integers(0, PAGES - 1), unique=True, max_size=PAGES)


def made(device: torch.device, group_bytes: int) -> Tiers:
    if device.type == "cuda":
        copiers = copiers_for(device, KernelCopier())
    else:
        copiers = Copiers(TorchCopier(), KernelCopier(), KernelCopier())
    return tiers(lanes=lanes_for(device), copiers=copiers, group_bytes=group_bytes, where=device)


def host_bytes(device: torch.device) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (PAGES * 320,), dtype=torch.uint8, generator=source)
    return raw.pin_memory() if device.type == "cuda" else raw


@given(data=st.data())
def test_kernels_copy_as_torch_does(device: torch.device, data: st.DataObject) -> None:
    came = data.draw(IDS)
    to = data.draw(st.permutations(range(PAGES)))[: len(came)]
    group = data.draw(st.sampled_from(layer_groups(SHAPES.kv, 3)))
    src = host_bytes(device)
    ours = torch.full((PAGES * 320,), 5, dtype=torch.uint8, device=device)
    reference, host = ours.cpu(), src.clone()
    if data.draw(st.booleans()):
        whole = Extents([n * 320 for n in to], [n * 320 for n in came], [320] * len(to))
        KernelCopier().extents(ours, src, whole)
        TorchCopier().extents(reference, host, whole)
    else:
        pieces = [Piece(a, b, 1) for a, b in zip(came, to, strict=True)]
        rows = TokenRows.of(group, SHAPES)
        KernelCopier().rows(ours, src, pieces, rows)
        TorchCopier().rows(reference, host, pieces, rows)
    assert torch.equal(ours.cpu(), reference)


@pytest.mark.parametrize("group_bytes", [1, 10**9])
def test_there_and_back(device: torch.device, group_bytes: int) -> None:
    both = made(device, group_bytes)
    before = both.device.raw.view(6, -1).clone()
    both.transfers.start(Order(0, WRITE, copy_of([1, 2], [5, 6], [4], [7])))
    both.transfers.wait()
    assert both.transfers.finished() == [Outcome(0, None)]
    both.device.raw[320:].fill_(0xA5)
    both.transfers.start(Order(1, LOAD, copy_of([5, 6], [3, 1], [7], [2])))
    both.transfers.begin_loads()
    both.transfers.wait_states()
    state = both.device.raw.view(6, -1)[2, :288].clone()
    for layer in range(SHAPES.kv.layers):
        both.transfers.wait_layer(layer)
    # What the forward launches now, on its own stream, reads what was loaded.
    loaded = both.device.raw.view(6, -1)[[3, 1]].clone()
    assert torch.equal(state, before[4, :288])
    assert torch.equal(loaded, before[[1, 2]])
    both.transfers.wait()
    assert both.transfers.finished() == [Outcome(1, None)]
    assert (both.device.raw.view(6, -1)[4:] == 0xA5).all()
    both.transfers.close()
    both.host.close()


def test_a_step_never_waits_for_the_device(device: torch.device) -> None:
    """Torch raises on any wait of its own; and nothing has ended while the forward still runs."""
    both = made(device, 1)
    busy = torch.zeros(2**30 if device.type == "cuda" else 2**10, dtype=torch.uint8, device=device)
    both.transfers.start(Order(0, WRITE, copy_of([1], [1])))
    both.transfers.start(Order(1, LOAD, copy_of([2], [2])))
    both.transfers.wait()
    both.transfers.finished()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            busy.add_(1)
        both.device.raw[320:640].fill_(9)
        both.transfers.start(Order(2, WRITE, copy_of([1], [3])))
        both.transfers.start(Order(3, LOAD, copy_of([4], [5])))
        both.transfers.begin_loads()
        both.transfers.wait_states()
        for layer in range(SHAPES.kv.layers):
            both.transfers.wait_layer(layer)
        early = both.transfers.finished()
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    if device.type == "cuda":
        assert early == [], "ended before the forward that they follow"
    both.transfers.wait()
    assert {o.ticket for o in [*early, *both.transfers.finished()]} == {2, 3}
    assert (both.host.pages[3] == 9).all(), "what was computed before is what is written back"
    both.transfers.close()


def test_the_kernels_pass_their_trial(device: torch.device) -> None:
    both = made(device, 1)
    kernel = KernelCopier()
    assert tried(kernel, device, Side(both.host.raw, both.host.geometry)) is kernel


def test_which_device_a_kernel_runs_on() -> None:
    def tensor(device: str, pinned: bool = False) -> torch.Tensor:
        return SimpleNamespace(device=torch.device(device), is_pinned=lambda: pinned)  # type: ignore[return-value]

    gpu, host, pinned = tensor("cuda:1"), tensor("cpu"), tensor("cpu", pinned=True)
    assert common_device("dst", gpu, "src", pinned) == torch.device("cuda:1")
    assert common_device("dst", pinned, "src", gpu) == torch.device("cuda:1")
    assert common_device("dst", host, "src", host) == torch.device("cpu")
    for one, other in ((gpu, host), (host, gpu), (gpu, tensor("cuda:0"))):
        with pytest.raises(KernelArgumentError, match="or one of them in pinned host memory"):
            common_device("dst", one, "src", other)
