"""Attention over the whole past: MHA, GQA, MQA and latent attention (MLA).

Sources: MLA caches the compressed latent and the rotary key once for all heads
(DeepSeek-V2, arXiv:2405.04434, section 2.1), so ranks hold copies of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.specs.dtypes import ElementType
from cachepawl.specs.parallel import kv_heads_of_rank, require_tp


@dataclass(frozen=True)
class Attention:
    """K and V per KV head: MHA when every query head has its own, MQA when one serves all.

    `owns_kv` is False for a layer that reads the K and V of an earlier one (Hymba).
    """

    query_heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    owns_kv: bool = True

    def entry_bytes(self, dtype: ElementType, tp: int = 1) -> int:
        """Bytes of one token's K and V on one rank; a scaled type's blocks lie inside a head."""
        heads = kv_heads_of_rank(self.kv_heads, tp)
        row = dtype.bytes_of(self.head_dim) + dtype.bytes_of(self.v_head_dim)
        return heads * row if self.owns_kv else 0

    @property
    def pair_flops(self) -> int:
        """FLOPs of one query token with one key token: q.k and p.v over all query heads."""
        return 2 * self.query_heads * (self.head_dim + self.v_head_dim)


@dataclass(frozen=True)
class LatentAttention:
    """MLA: one latent of `latent` elements and one rotary key of `rope` a token.

    `qk_head_dim` and `v_head_dim` are per query head, after the latent is expanded.
    """

    query_heads: int
    latent: int
    rope: int
    qk_head_dim: int
    v_head_dim: int

    def entry_bytes(self, dtype: ElementType, tp: int = 1) -> int:
        """Bytes of one token on one rank; every rank holds the whole entry."""
        require_tp(tp)
        return dtype.bytes_of(self.latent + self.rope)

    @property
    def pair_flops(self) -> int:
        """FLOPs of one query token with one key token in a prefill, which expands the latent."""
        return 2 * self.query_heads * (self.qk_head_dim + self.v_head_dim)
