"""Every copier against torch's: the same bytes, and none beside them."""

# ruff: noqa: N802, N815 - CUDA's names
from __future__ import annotations

import ctypes
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiers import CPU, SHAPES

from cachepawl.offload import dma_copier
from cachepawl.offload.copier import TokenRows, TorchCopier
from cachepawl.offload.copiers import DMA_FROM, BySize, copiers_for, copies_rows
from cachepawl.offload.dma_copier import DmaCopier
from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.layers import layer_groups

runtime = pytest.importorskip("cuda.bindings.runtime")

PAGES = 9
CASES = st.lists(st.integers(0, PAGES - 1), unique=True, max_size=PAGES)


class MemmoveRuntime:
    """CUDA's runtime on a CPU: takes what the bindings take, and copies at once."""

    cudaMemcpyAttributes = runtime.cudaMemcpyAttributes
    cudaMemcpySrcAccessOrder = runtime.cudaMemcpySrcAccessOrder
    cudaMemcpyKind = runtime.cudaMemcpyKind
    cudaError_t = runtime.cudaError_t
    cudaGetErrorString = staticmethod(runtime.cudaGetErrorString)

    def __init__(self, code: int = 0) -> None:
        self.code = runtime.cudaError_t(code)
        self.calls: list[str] = []
        self.devices: list[int] = []

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        self.devices.append(device)
        return (runtime.cudaError_t(0),)

    def cudaMemcpyBatchAsync(self, dsts, srcs, sizes, count, attrs, firsts, n, stream):  # type: ignore[no-untyped-def]
        self.calls.append("batch")
        assert len(dsts) == len(srcs) == len(sizes) == count > 0
        assert (len(attrs), firsts, n) == (1, [0], 1)
        orders = runtime.cudaMemcpySrcAccessOrder
        assert attrs[0].srcAccessOrder == orders.cudaMemcpySrcAccessOrderStream
        if not int(self.code):
            for to, came, size in zip(dsts, srcs, sizes, strict=True):
                ctypes.memmove(to, came, size)
        return (self.code,)

    def cudaMemcpy2DAsync(self, dst, dpitch, src, spitch, width, height, kind, stream):  # type: ignore[no-untyped-def]
        self.calls.append("pitched")
        assert kind == runtime.cudaMemcpyKind.cudaMemcpyDefault
        if not int(self.code):
            for row in range(height):
                ctypes.memmove(dst + row * dpitch, src + row * spitch, width)
        return (self.code,)


class Recording(TorchCopier):
    """Torch's, with what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Extents] = []

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        self.asked.append(extents)
        super().extents(dst, src, extents)


def arenas(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    size = (2, PAGES * SHAPES.page_bytes)
    one, other = torch.randint(0, 256, size, dtype=torch.uint8, generator=source)
    return one, other


def expected(came: list[int], to: list[int], first: int, size: int) -> torch.Tensor:
    """Token by token: bytes `[first, first + size)` of each entry."""
    dst, src = arenas()
    entry = SHAPES.entry_bytes
    for one, other in zip(came, to, strict=True):
        for token in range(SHAPES.page_tokens):
            at, there = (page * SHAPES.page_bytes + token * entry + first for page in (other, one))
            dst[at : at + size] = src[there : there + size]
    return dst


def ways() -> list[Any]:
    engines = DmaCopier(CPU, MemmoveRuntime())
    return [TorchCopier(), engines, BySize(engines, TorchCopier(), 2 * SHAPES.page_bytes)]


@given(data=st.data())
def test_extents_and_rows(data: st.DataObject) -> None:
    came = data.draw(CASES)
    to = data.draw(st.permutations(range(PAGES)))[: len(came)]
    pieces = [Piece(a, b, 1) for a, b in zip(came, to, strict=True)]
    size = SHAPES.page_bytes
    whole = Extents([b * size for b in to], [a * size for a in came], [size] * len(to))
    group = data.draw(st.sampled_from(layer_groups(SHAPES.kv, 3)))
    for copier in ways():
        dst, src = arenas()
        copier.extents(dst, src, whole)
        assert torch.equal(dst, expected(came, to, 0, SHAPES.entry_bytes))
        dst, src = arenas()
        copier.rows(dst, src, pieces, TokenRows.of(group, SHAPES))
        assert torch.equal(dst, expected(came, to, group.base, group.row_bytes))


def test_pieces_of_several_pages() -> None:
    rows = TokenRows.of(layer_groups(SHAPES.kv, 3)[1], SHAPES)
    for copier in ways():
        dst, src = arenas()
        copier.rows(dst, src, [Piece(1, 4, 3), Piece(6, 0, 2)], rows)
        assert torch.equal(dst, expected([1, 2, 3, 6, 7], [4, 5, 6, 0, 1], rows.base, 48))


def test_one_call_a_batch_and_one_a_piece() -> None:
    fake = MemmoveRuntime()
    copier = DmaCopier(torch.device("cpu", 0), fake)
    dst, src = arenas()
    copier.extents(dst, src, Extents([0, 64, 320], [640, 0, 32], [64, 16, 320]))
    copier.extents(dst, src, Extents([], [], []))
    assert fake.calls == ["batch"]
    copier.rows(dst, src, [Piece(1, 4, 3), Piece(6, 0, 2)], TokenRows(2, 160, 48, 48))
    assert fake.calls == ["batch", "pitched", "pitched"]
    assert set(fake.devices) == {0}


@pytest.mark.parametrize(
    "bindings",
    [None, SimpleNamespace(), MemmoveRuntime(801), runtime],
    ids=["missing", "without copies", "without batches", "installed"],
)
def test_without_batches_extents_go_one_by_one(
    bindings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last case is the real runtime, which has no driver here: its error is understood."""
    if bindings is runtime and torch.cuda.is_available():
        pytest.skip("there is a driver")
    monkeypatch.setattr(dma_copier, "_said", set())
    copier = DmaCopier(CPU, bindings)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            dst, src = arenas()
            copier.extents(dst, src, Extents([0, 320], [640, 0], [64, 320]))
            assert torch.equal(dst[:64], src[640:704])
            assert torch.equal(dst[320:640], src[:320])
    assert len(caplog.messages) == 1
    assert "extents are submitted one by one" in caplog.messages[0]
    if isinstance(bindings, MemmoveRuntime):
        assert bindings.calls == ["batch"]


def test_errors_are_told() -> None:
    dst, src = arenas()
    copier = DmaCopier(CPU, MemmoveRuntime(700))
    with pytest.raises(RuntimeError, match="cudaMemcpyBatchAsync: error 700: an illegal memory"):
        copier.extents(dst, src, Extents([0], [0], [16]))
    with pytest.raises(RuntimeError, match="cudaMemcpy2DAsync: error 700: an illegal memory"):
        copier.rows(dst, src, [Piece(1, 1, 1)], TokenRows(2, 160, 0, 48))


def test_by_size() -> None:
    long, short = Recording(), Recording()
    dst, src = arenas()
    extents = Extents([0, 640, 960], [320, 0, 16], [320, 16, 336])
    BySize(long, short, 320).extents(dst, src, extents)
    assert long.asked == [([0, 960], [320, 16], [320, 336])]
    assert short.asked == [([640], [0], [16])]
    assert DMA_FROM % 2**16 == 0


def test_a_cpu_copies_with_torch() -> None:
    assert all(isinstance(copier, TorchCopier) for copier in copiers_for(CPU, Recording()))


def test_a_gpu_writes_back_with_its_copy_engines_alone() -> None:
    kernel = Recording()
    copiers = copiers_for(torch.device("cuda", 1), kernel)
    assert isinstance(copiers.write, DmaCopier)
    assert isinstance(copiers.load, BySize)
    assert isinstance(copiers_for(torch.device("cuda"), None).load, DmaCopier)


def test_who_copies_rows() -> None:
    """Without a kernel and without pitched copies loads come whole."""
    assert copies_rows(TorchCopier())
    assert copies_rows(DmaCopier(CPU, MemmoveRuntime()))
    assert not copies_rows(DmaCopier(CPU, None))
    assert copies_rows(BySize(DmaCopier(CPU, None), TorchCopier()))
