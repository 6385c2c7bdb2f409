"""What SGLang's host cache needs of a GPU, on a CPU: copies that are made at once.

Three things are in the way, and nothing else: `cudaHostRegister` (memory then stays ordinary,
as ours does), and the two functions of `sgl_kernel.kvcacheio` that its backend `direct` calls.
Streams and events are torch's own for a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from sglang.srt.mem_cache.pool_host import common, mamba, mha


class Copied:
    """What was copied each way."""

    def __init__(self) -> None:
        self.bytes = {"load": 0, "write": 0}
        self.seconds = 0.0

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
            self.bytes["write"] += rows.nbytes
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
            self.bytes["load"] += rows.nbytes
        self.seconds += time.thread_time() - started


@contextmanager
def on_a_cpu() -> Iterator[Copied]:
    """SGLang's host pools can be made and used inside."""
    copied = Copied()
    with (
        mock.patch.object(common, "_cuda_host_register", return_value=None),
        mock.patch.object(mha, "transfer_kv_all_layer_direct_lf_pf", copied.write, create=True),
        mock.patch.object(mamba, "transfer_kv_all_layer_direct_lf_pf", copied.write, create=True),
        mock.patch.object(mha, "transfer_kv_per_layer_direct_pf_lf", copied.load, create=True),
        mock.patch.object(mamba, "transfer_kv_per_layer_direct_pf_lf", copied.load, create=True),
    ):
        yield copied
