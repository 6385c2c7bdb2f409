"""The parts of a scheduler process that are ours, over a device without data, and its requests."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device_guard import DEVICE
from sglang.srt.configs.mamba_utils import Mamba2CacheParams, Mamba2StateShape
from sglang.srt.managers.schedule_batch import ReqKvInfo
from sglang.srt.mem_cache import memory_pool
from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.runtime_context import create_context, use_context
from sglang.srt.server_args import ServerArgs

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.arena import Arena, ArenaDtypes
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.evacuation import PageMover
from cachepawl_launch.request_pools import ArenaHybridRowPool
from cachepawl_launch.token_allocator import ArenaTokenAllocator

PAGE, GRID, FRAMES, ROWS = 4, 64, 64, 24
LAYERS = [0, 2]
PARAMS = Mamba2CacheParams(
    layers=LAYERS,
    shape=Mamba2StateShape.create(
        tp_world_size=1, intermediate_size=64, n_groups=1, num_heads=4, head_dim=16,
        state_size=16, conv_kernel=4,
    ),
)  # fmt: skip
GEOMETRY = Geometry(
    KvShape(layers=2, heads=1, head_dim=16, v_head_dim=16, itemsize=2),
    StateShape(
        len(LAYERS), tuple(tuple(shape) for shape in PARAMS.shape.conv),
        PARAMS.dtype.conv.itemsize, tuple(PARAMS.shape.temporal), PARAMS.dtype.temporal.itemsize,
    ),
    PAGE,
    FRAMES,
)  # fmt: skip


class Request:
    """What our parts read and write of SGLang's request."""

    def __init__(self, rid: str, prompt: list[int]) -> None:
        self.rid = rid
        self.kv = ReqKvInfo()
        self.output_ids: list[int] = []
        self.origin_input_ids = prompt
        self.extra_key = self.cache_salt = self.finished_reason = self.lock = self.last_node = None
        self.sampling_params = SimpleNamespace(custom_params=None)
        self.prefix_len = self.cached_tokens = 0
        self.done = False

    @property
    def full_untruncated_fill_ids(self) -> array[int]:
        return array("q", self.origin_input_ids + self.output_ids)

    @property
    def extend_end(self) -> int:
        return len(self.origin_input_ids)

    def finished(self) -> bool:
        return self.done


class Server:
    """The parts of a scheduler process that are ours, joined as `Assembly` joins them."""

    def __init__(self, *, extra_buffer: bool) -> None:
        dtypes = ArenaDtypes(torch.bfloat16, PARAMS.dtype.conv, PARAMS.dtype.temporal)
        self.arena = Arena(GEOMETRY, GEOMETRY.total_bytes, DEVICE, dtypes)
        self.cache = HybridPrefixCache(GEOMETRY, states_per_request=3 if extra_buffer else 1)
        self.rows = ArenaHybridRowPool(
            cache=self.cache, arena=self.arena, corrupt_copies=False, size=ROWS, mamba_size=1,
            mamba_spec_state_size=1, max_context_len=2048, device=DEVICE,
            enable_memory_saver=False, cache_params=PARAMS, mamba_layer_ids=LAYERS,
            enable_mamba_extra_buffer=extra_buffer,
        )  # fmt: skip
        self.allocator = ArenaTokenAllocator(
            self.cache, page_size=PAGE, dtype=torch.bfloat16, device=DEVICE, kvcache=None
        )
        self.allocator.set_rows(self.rows.req_to_token.shape[0])
        self.rows.kv_allocator = self.allocator
        self.mover = PageMover(self.arena, self.allocator, self.rows.req_to_token, self.clear)
        self.cache.carry = self.mover
        params = CacheInitParams(
            disable=False, req_to_token_pool=self.rows,
            token_to_kv_pool_allocator=self.allocator, page_size=PAGE,
            enable_mamba_extra_buffer=extra_buffer,
        )  # fmt: skip
        context = SimpleNamespace(params=params)
        self.tree = CachepawlPrefixCache(context, check_level=0, split_prefill=True)

    def clear(self) -> None:
        turned, self.cache.frames.turned_to_kv = self.cache.frames.turned_to_kv, []
        if turned:
            self.arena.zero_frames(turned)

    # -- what SGLang does with a request ------------------------------------------------

    def prefill(self, *requests: Request) -> None:
        for req in requests:
            key = RadixKey(array("q", req.origin_input_ids))
            found = self.tree.match_prefix(MatchPrefixParams(key=key, req=req))
            req.last_node = found.last_device_node
            req.prefix_len = req.kv.cache_protected_len = found.device_prefix_len
            req.lock = self.tree.lock(req.last_node)
        assert self.rows.alloc(list(requests)) is not None
        tokens = sum(req.extend_end - req.prefix_len for req in requests)
        ids = self.allocator.alloc_extend(None, None, None, None, None, tokens)
        assert ids is not None
        self.write(requests, ids)
        self.forward(requests)
        for req in requests:
            req.kv.kv_allocated_len = req.kv.kv_committed_len = req.extend_end
            self.snapshot(req, req.extend_end)
            self.tree.checkpoint(req, up_to=req.extend_end)

    def write(self, requests: Any, ids: torch.Tensor) -> None:
        at = 0
        for req in requests:
            where = slice(req.prefix_len, req.extend_end)
            count = where.stop - where.start
            row = (req.kv.req_pool_idx, where)
            self.rows.write(row, ids[at : at + count].to(torch.int32))
            at += count

    def forward(self, requests: Any) -> None:
        """First what is due on the forward stream."""
        self.mover.forward_started()
        self.clear()
        copied = [req for req in requests if req.kv.mamba_cow_src_index is not None]
        fresh = [req.kv.mamba_pool_idx.unsqueeze(0) for req in requests if req.kv.mamba_needs_clear]
        if fresh:
            self.rows.mamba_pool.clear_slots(torch.cat(fresh))
        if copied:
            self.rows.copy_mamba_state(
                torch.cat([req.kv.mamba_cow_src_index for req in copied]),
                torch.cat([req.kv.mamba_pool_idx.unsqueeze(0) for req in copied]),
            )
        for req in requests:
            req.kv.mamba_cow_src_index, req.kv.mamba_needs_clear = None, False

    def snapshot(self, req: Request, length: int) -> None:
        if self.rows.enable_mamba_extra_buffer:
            req.kv.mamba_last_track_seqlen = length // GRID * GRID
            req.kv.mamba_next_track_idx = 0
            req.kv.mamba_last_track_idx = 0

    def decode(self, *requests: Request) -> None:
        rows = torch.tensor([req.kv.req_pool_idx for req in requests])
        lengths = torch.tensor([req.kv.kv_allocated_len for req in requests])
        self.allocator.expect_next(rows.numpy(), lengths.numpy())
        assert self.allocator.alloc_decode(None, lengths, None) is not None
        self.forward(())
        for req in requests:
            req.output_ids.append(7)
            req.kv.kv_allocated_len += 1

    def finish(self, req: Request, *, checkpointed: bool = True) -> None:
        req.done = True
        length = req.kv.kv_allocated_len
        if checkpointed:
            self.tree.checkpoint(req, up_to=length)
        self.tree.on_release(req, checkpointed=checkpointed)
        self.tree.free_kv_row(req.kv, [(req.kv.cache_protected_len, length)])
        self.tree.unlock(req.lock)
        self.rows.free(req)


def tokens(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(5, 260, count).tolist()


@contextmanager
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What SGLang's parts look for around them."""

    def upload(args: Any, *, dtype: torch.dtype, device: str) -> torch.Tensor:
        return torch.tensor(args, dtype=dtype).to(device, non_blocking=True)

    # On a GPU SGLang's own goes by page-locked memory; without one it blocks.
    monkeypatch.setattr(memory_pool, "async_h2d", upload)
    args = ServerArgs(model_path="none", device="cpu", page_size=PAGE)
    args._mamba_cache_chunk_size = GRID
    with use_context(create_context(args, role="tokenizer")):
        yield


def device_reads(server: Server) -> int:
    return server.allocator.device_reads + server.rows.mamba_allocator.ids.device_reads
