"""Matrix elements that a token is multiplied with, per kind of block."""

from __future__ import annotations

from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.gdn import GatedDelta
from cachepawl.specs.kda import KimiDelta
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.rglru import RgLru


def attention(hidden: int, a: Attention, *, source: int | None = None, gates: int = 0) -> int:
    """Projections of q, k, v and the output.

    `source` is the width that q, k and v read, where it is not `hidden`; `gates` is the
    number of output gates as wide as q.
    """
    source = hidden if source is None else source
    queries = (1 + gates) * a.query_heads * a.head_dim
    keys_values = a.kv_heads * (a.head_dim + a.v_head_dim)
    return source * (queries + keys_values) + a.query_heads * a.v_head_dim * hidden


def latent_attention(hidden: int, a: LatentAttention, q_rank: int | None) -> int:
    """MLA: q directly or through a latent of `q_rank`, k and v through theirs."""
    queries = a.query_heads * a.qk_head_dim
    ask = hidden * queries if q_rank is None else q_rank * (hidden + queries)
    compress = hidden * (a.latent + a.rope)
    expand = a.latent * a.query_heads * (a.qk_head_dim - a.rope + a.v_head_dim)
    return ask + compress + expand + a.query_heads * a.v_head_dim * hidden


def mamba1(hidden: int, m: Mamba1, dt_rank: int) -> int:
    """in, x (dt, B, C), dt and out projections."""
    return 3 * hidden * m.inner + m.inner * (dt_rank + 2 * m.state) + dt_rank * m.inner


def mamba2(hidden: int, m: Mamba2) -> int:
    """in (gate, x, B, C, dt) and out projections."""
    return hidden * (m.inner + m.channels + m.heads) + m.inner * hidden


def gated_delta(hidden: int, g: GatedDelta) -> int:
    """q, k, v, output gate, the two scalars a head, and the output."""
    values = g.value_heads * g.value_dim
    return hidden * (g.channels + values + 2 * g.value_heads) + values * hidden


def kimi_delta(hidden: int, k: KimiDelta) -> int:
    """q, k, v, output; decay and output gate through a rank of one head; one scalar a head."""
    width = k.heads * k.head_dim
    low_rank = k.head_dim * (hidden + width)
    return 4 * hidden * width + 2 * low_rank + hidden * k.heads


def rg_lru(hidden: int, r: RgLru) -> int:
    """Two branches in, one out, and two block-diagonal gates."""
    return 3 * hidden * r.width + 2 * r.width * (r.width // r.heads)


def short_conv(hidden: int) -> int:
    """Two gates and the input in, one out."""
    return 4 * hidden * hidden


def mlp(hidden: int, inner: int) -> int:
    """A gated MLP: gate, up and down."""
    return 3 * hidden * inner


def plain_mlp(hidden: int, inner: int) -> int:
    """An MLP without a gate: up and down."""
    return 2 * hidden * inner
