"""SGLang's attention over the arena's strided K and V gives what it gives over contiguous ones."""

from __future__ import annotations

import pytest
import torch
from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd
from sglang.kernels.ops.attention.extend_attention import extend_attention_fwd
from sglang_views import DIM, HEADS, Views, filled, locations
from torch.nn.functional import scaled_dot_product_attention

QUERIES = 4
"""Query heads: two a KV head."""
LENGTHS = (7, 5)
SPLITS = 2


def decode(views: Views, k: torch.Tensor, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    device = q.device
    out = torch.full((2, QUERIES, DIM), torch.nan, dtype=torch.float16, device=device)
    decode_attention_fwd(
        q=q, k_buffer=k, v_buffer=v, o=out,
        kv_indptr=torch.tensor([0, 7, 12], dtype=torch.int32, device=device),
        kv_indices=locations(device),
        attn_logits=torch.zeros(2, QUERIES, SPLITS, DIM, device=device),
        attn_lse=torch.zeros(2, QUERIES, SPLITS, device=device),
        num_kv_splits=torch.full((2,), SPLITS, dtype=torch.int32, device=device),
        max_kv_splits=SPLITS, sm_scale=DIM**-0.5, k_scale=1.0, v_scale=1.0,
    )  # fmt: skip
    return out


def extend(views: Views, k: torch.Tensor, v: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Three new tokens after the first sequence, two after the second."""
    device = new.device
    q, k_new, v_new = new[:, :QUERIES], new[:, QUERIES : QUERIES + HEADS], new[:, -HEADS:]
    out = torch.full((5, QUERIES, DIM), torch.nan, dtype=torch.float16, device=device)
    starts = torch.tensor([0, 3, 5], dtype=torch.int32, device=device)
    extend_attention_fwd(
        q.contiguous(), k_new.contiguous(), v_new.contiguous(), out, k, v, starts,
        torch.tensor([0, 7, 12], dtype=torch.int32, device=device), locations(device),
        None, True, None, 3, 1.0, 1.0,
    )  # fmt: skip
    return out


def exact(views: Views, q: torch.Tensor) -> torch.Tensor:
    """The decode step in float32 by torch."""
    found = []
    for query, where in zip(q, locations(q.device).split(LENGTHS), strict=True):
        grouped = query.float().view(HEADS, QUERIES // HEADS, DIM)
        k, v = (view[where].float().transpose(0, 1) for view in (views.k, views.v))
        found.append(scaled_dot_product_attention(grouped, k, v).reshape(QUERIES, DIM))
    return torch.stack(found)


@pytest.mark.parametrize("attend", [decode, extend])
def test_strided_as_contiguous(device: torch.device, attend: object) -> None:
    views = filled(device)
    before = views.arena.raw.clone()
    rows = 2 if attend is decode else 5
    heads = QUERIES if attend is decode else QUERIES + 2 * HEADS
    new = torch.randn(rows, heads, DIM).half().to(device)
    strided = attend(views, views.k, views.v, new)  # type: ignore[operator]
    packed = attend(views, views.k.contiguous(), views.v.contiguous(), new)  # type: ignore[operator]
    assert not views.k.is_contiguous()
    assert not strided.isnan().any()
    assert torch.equal(strided, packed)
    assert torch.equal(views.arena.raw, before)


def test_decode_is_attention(device: torch.device) -> None:
    views = filled(device)
    q = torch.randn(2, QUERIES, DIM).half().to(device)
    assert torch.allclose(decode(views, views.k, views.v, q).float(), exact(views, q), atol=2e-3)


def test_a_wrong_stride_is_noticed(device: torch.device) -> None:
    """The comparison can fail: the same bytes at another layer's place give another answer."""
    views = filled(device)
    q = torch.randn(2, QUERIES, DIM).half().to(device)
    moved = decode(views, views.arena.k_view(0), views.v, q)
    assert not torch.equal(moved, decode(views, views.k, views.v, q))
