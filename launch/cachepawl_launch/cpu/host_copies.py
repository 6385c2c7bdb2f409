"""What SGLang's own host cache needs of a GPU, on this platform: copies that are made at once.

Three things are in its way on a CPU, and nothing else: `cudaHostRegister` (memory then stays
ordinary, as ours does), and the two functions of `sgl_kernel.kvcacheio` that its backend `direct`
calls.  Streams and events are torch's own for a CPU.

Nothing here is in place unless somebody asks: no flag, no plugin and no hook does.  Benchmarks and
tests that want SGLang's host cache beside ours call `install` or enter `on_a_cpu`.  SGLang must
then be told ``--hicache-io-backend direct --hicache-mem-layout page_first_direct``.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from sglang.srt.mem_cache.pool_host import common, mamba, mha

from cachepawl_launch.cpu.hooks import MissingHookTargetError

LOADED, WRITTEN = 0, 1
"""Places of `Copied.counts`."""
REGISTER = "_cuda_host_register"


class Copied:
    """The copies, and what was copied each way.

    Attributes:
        counts: Bytes to the device and to the host, 64 bits each; may be memory that others see.
        seconds: CPU time spent in copies.
    """

    def __init__(self, counts: memoryview | None = None) -> None:
        self.counts = memoryview(array("q", [0, 0])) if counts is None else counts
        self.seconds = 0.0

    @property
    def bytes(self) -> dict[str, int]:
        """The counts by name."""
        return {"load": self.counts[LOADED], "write": self.counts[WRITTEN]}

    def write(
        self,
        src_ptrs: list[torch.Tensor],
        dst_ptrs: list[torch.Tensor],
        src_indices: torch.Tensor,
        dst_indices: torch.Tensor,
        page_size: int,
    ) -> None:
        """All layers of some pages to the host, where a page's layers lie together."""
        started = time.thread_time()
        pages = dst_indices[::page_size] // page_size
        layers = len(src_ptrs) // len(dst_ptrs)
        for i, source in enumerate(src_ptrs):
            rows = source[src_indices]
            there = dst_ptrs[i // layers]
            there[pages, i % layers] = rows.reshape(len(pages), page_size, *rows.shape[1:])
            self.counts[WRITTEN] += rows.nbytes
        self.seconds += time.thread_time() - started

    def load(
        self,
        src_ptrs: list[torch.Tensor],
        dst_ptrs: list[torch.Tensor],
        src_indices: torch.Tensor,
        dst_indices: torch.Tensor,
        layer_id: int,
        page_size: int,
    ) -> None:
        """One layer of some pages to the device."""
        started = time.thread_time()
        pages = src_indices[::page_size] // page_size
        for source, target in zip(src_ptrs, dst_ptrs, strict=True):
            rows = source[pages, layer_id].reshape(len(dst_indices), *target.shape[1:])
            target[dst_indices] = rows
            self.counts[LOADED] += rows.nbytes
        self.seconds += time.thread_time() - started


def install(copied: Copied) -> None:
    """Let SGLang's host pools be made and used in this process, from now on.

    Raises:
        MissingHookTargetError: this SGLang has no such place; nothing has been changed then.
    """
    for module, name, stand_in in _places(copied):
        setattr(module, name, stand_in)


@contextmanager
def on_a_cpu() -> Iterator[Copied]:
    """SGLang's host pools can be made and used inside."""
    copied = Copied()
    with ExitStack() as stack:
        for module, name, stand_in in _places(copied):
            stack.enter_context(mock.patch.object(module, name, stand_in, create=True))
        yield copied


def _places(copied: Copied) -> list[tuple[Any, str, Callable[..., Any]]]:
    """What is put where.  The copies are names that only CUDA's import of them would make."""
    if not hasattr(common, REGISTER):
        raise MissingHookTargetError(f"SGLang has no {common.__name__}.{REGISTER}")
    copies: dict[str, Callable[..., Any]] = {
        "transfer_kv_all_layer_direct_lf_pf": copied.write,
        "transfer_kv_per_layer_direct_pf_lf": copied.load,
    }
    places: list[tuple[Any, str, Callable[..., Any]]] = [(common, REGISTER, _register_nothing)]
    return places + [(pool, name, copy) for pool in (mha, mamba) for name, copy in copies.items()]


def _register_nothing(*_: object) -> None:
    """Memory of a CPU needs no registration."""
