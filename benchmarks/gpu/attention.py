"""Attention over the arena's strided K and V against contiguous ones: same results, what time?

`ratio` is strided over contiguous.  The decode step, which is bound by reading K and V, and a
prefill of a few tokens after a long prefix: what a hit leaves to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.bench import Bench, Row, must_equal
from benchmarks.gpu.machine import missing
from benchmarks.gpu.sections import attempt

LAYERS, HEADS, QUERIES, DIM = 12, 2, 16, 128
PAGE_TOKENS = 16
Attend = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def measure(bench: Bench) -> Iterator[Row]:
    """A row a kernel of a library; `skipped` says why one was not tried."""
    batch = 32 if bench.device.type == "cuda" else 2
    layers = LAYERS if bench.device.type == "cuda" else 2
    tokens = bench.sizes.tokens
    # fp16: the interpreter's dot product of bfloat16 is wrong.
    entries = torch.randn(batch * tokens, layers, 2, HEADS, DIM, device=bench.device).half()
    k, v = entries[:, layers // 2, 0], entries[:, layers // 2, 1]
    q = torch.randn(batch, QUERIES, DIM, device=bench.device).half()
    for name, build in (
        ("sglang triton decode", _sglang),
        ("sglang triton prefill", _sglang_prefill),
        ("flashinfer decode", _flashinfer),
        ("flashinfer prefill", _flashinfer_prefill),
    ):
        library = name.partition(" ")[0]
        if missing([library]):
            yield {"row": name, "skipped": f"{library} is not installed"}
        elif library == "flashinfer" and bench.device.type != "cuda":
            yield {"row": name, "skipped": "needs a GPU"}
        else:
            yield attempt(
                name, partial(_compare, bench, name, partial(build, bench, q, batch, tokens), k, v)
            )


def _compare(
    bench: Bench, name: str, build: Callable[[], Attend], k: torch.Tensor, v: torch.Tensor
) -> Row:
    attend = build()
    packed = k.contiguous(), v.contiguous()
    strided, contiguous = attend(k, v).clone(), attend(*packed).clone()
    assert not contiguous.isnan().any(), name
    must_equal(f"{name} over strided views", strided, contiguous)
    strided_us = bench.device_us(lambda: attend(k, v))
    packed_us = bench.device_us(lambda: attend(*packed))
    return {
        "row": name, "tokens": len(k), "token_stride_bytes": k.stride(0) * k.element_size(),
        "strided_us": strided_us, "contiguous_us": packed_us,
        "ratio": round(strided_us / packed_us, 3),
    }  # fmt: skip


def _sglang(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend:
    from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd

    splits, device = 8 if bench.device.type == "cuda" else 2, bench.device
    indptr = torch.arange(batch + 1, dtype=torch.int32, device=device) * tokens
    out = torch.full_like(q, torch.nan)
    state = {
        "kv_indptr": indptr,
        "kv_indices": torch.randperm(batch * tokens, device=device),
        "attn_logits": torch.empty(batch, QUERIES, splits, DIM, device=device),
        "attn_lse": torch.empty(batch, QUERIES, splits, device=device),
        "num_kv_splits": torch.full((batch,), splits, dtype=torch.int32, device=device),
        "max_kv_splits": splits,
    }

    def attend(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        decode_attention_fwd(
            q=q, k_buffer=k, v_buffer=v, o=out, sm_scale=DIM**-0.5, k_scale=1.0, v_scale=1.0,
            **state,
        )  # fmt: skip
        return out

    return attend


def _sglang_prefill(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend:
    from sglang.kernels.ops.attention.extend_attention import extend_attention_fwd

    device, fresh = bench.device, _fresh(bench)
    new = torch.randn(batch * fresh, QUERIES + 2 * HEADS, DIM, device=device).half()
    parts = [part.contiguous() for part in new.split((QUERIES, HEADS, HEADS), dim=1)]
    out = torch.full_like(parts[0], torch.nan)
    starts, indptr = (
        torch.arange(batch + 1, dtype=torch.int32, device=device) * count
        for count in (fresh, tokens)
    )
    indices = torch.randperm(batch * tokens, device=device)

    def attend(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        extend_attention_fwd(
            *parts, out, k, v, starts, indptr, indices, None, True, None, fresh, 1.0, 1.0
        )
        return out

    return attend


def _fresh(bench: Bench) -> int:
    """New tokens of a sequence."""
    return 64 if bench.device.type == "cuda" else 4


def _over_pages(wrapper: Any, q: torch.Tensor) -> Attend:
    """A planned wrapper of FlashInfer's, which takes K and V page by page."""

    def attend(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        paged = tuple(part.unflatten(0, (-1, PAGE_TOKENS)) for part in (k, v))
        result: torch.Tensor = wrapper.run(q, paged)
        return result

    return attend


def _flashinfer_prefill(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend:
    from flashinfer import BatchPrefillWithPagedKVCacheWrapper

    device, pages, fresh = bench.device, tokens // PAGE_TOKENS, _fresh(bench)
    new = torch.randn(batch * fresh, QUERIES, DIM, device=device).half()
    workspace = torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    wrapper = BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
    wrapper.plan(
        torch.arange(batch + 1, dtype=torch.int32, device=device) * fresh,
        torch.arange(batch + 1, dtype=torch.int32, device=device) * pages,
        torch.randperm(batch * pages, device=device).int(),
        torch.full((batch,), PAGE_TOKENS, dtype=torch.int32, device=device),
        QUERIES, HEADS, DIM, PAGE_TOKENS, causal=True, q_data_type=q.dtype, kv_data_type=q.dtype,
    )  # fmt: skip

    return _over_pages(wrapper, new)


def _flashinfer(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend:
    from flashinfer import BatchDecodeWithPagedKVCacheWrapper

    device, pages = bench.device, tokens // PAGE_TOKENS
    workspace = torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    wrapper = BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=True)
    wrapper.plan(
        torch.arange(batch + 1, dtype=torch.int32, device=device) * pages,
        torch.randperm(batch * pages, device=device).int(),
        torch.full((batch,), PAGE_TOKENS, dtype=torch.int32, device=device),
        QUERIES, HEADS, DIM, PAGE_TOKENS, q_data_type=q.dtype, kv_data_type=q.dtype,
    )  # fmt: skip

    return _over_pages(wrapper, q)
