"""Attention over the arena's strided K and V against contiguous ones: same results, what time?

`ratio` is strided over contiguous.  Only the decode step, which is bound by reading K and V.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.bench import Bench, Row, must_equal

LAYERS, HEADS, QUERIES, DIM = 12, 2, 16, 128
PAGE_TOKENS = 16
Attend = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def measure(bench: Bench) -> list[Row]:
    """A row a library that is installed."""
    batch = 32 if bench.device.type == "cuda" else 2
    layers = LAYERS if bench.device.type == "cuda" else 2
    tokens = bench.sizes.tokens
    # fp16: the interpreter's dot product of bfloat16 is wrong.
    entries = torch.randn(batch * tokens, layers, 2, HEADS, DIM, device=bench.device).half()
    k, v = entries[:, layers // 2, 0], entries[:, layers // 2, 1]
    q = torch.randn(batch, QUERIES, DIM, device=bench.device).half()
    rows = []
    for name, build in (("sglang triton decode", _sglang), ("flashinfer decode", _flashinfer)):
        attend = build(bench, q, batch, tokens)
        if attend is not None:
            rows.append(_compare(bench, name, attend, k, v))
    return rows


def _compare(bench: Bench, name: str, attend: Attend, k: torch.Tensor, v: torch.Tensor) -> Row:
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


def _sglang(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend | None:
    try:
        from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd
    except ImportError:
        return None
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


def _flashinfer(bench: Bench, q: torch.Tensor, batch: int, tokens: int) -> Attend | None:
    if bench.device.type != "cuda":
        return None
    try:
        from flashinfer import BatchDecodeWithPagedKVCacheWrapper
    except ImportError:
        return None
    device, pages = bench.device, tokens // PAGE_TOKENS
    workspace = torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    wrapper = BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=True)
    wrapper.plan(
        torch.arange(batch + 1, dtype=torch.int32, device=device) * pages,
        torch.randperm(batch * pages, device=device).int(),
        torch.full((batch,), PAGE_TOKENS, dtype=torch.int32, device=device),
        QUERIES, HEADS, DIM, PAGE_TOKENS, q_data_type=q.dtype, kv_data_type=q.dtype,
    )  # fmt: skip

    def attend(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        paged = tuple(part.unflatten(0, (-1, PAGE_TOKENS)) for part in (k, v))
        result: torch.Tensor = wrapper.run(q, paged)
        return result

    return attend
