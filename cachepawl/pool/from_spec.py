"""The arena's geometry of a model spec: what the arena can hold, and what it cannot yet."""

from __future__ import annotations

from cachepawl.errors import ConfigError
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.model import ModelSpec
from cachepawl.specs.parallel import kv_heads_of_rank


def geometry_from_spec(spec: ModelSpec, page_tokens: int, tp: int = 1) -> Geometry:
    """Shapes of one rank's share of a model, without a number of frames yet.

    ConfigError when `page_tokens` is not positive, when `tp` ranks cannot share the
    model, or when the arena cannot hold it: windows, latent attention, no full attention
    at all, layers of different shapes, element types without whole bytes.
    """
    if page_tokens < 1:
        raise ConfigError(f"--page-size {page_tokens} is not positive; use 1 or more")
    if spec.windows:
        raise ConfigError(
            f"{spec.name}: {len(spec.windows)} layers attend over a window of "
            f"{spec.window_tokens} tokens, which the arena does not hold yet; "
            f"serve a model with full attention"
        )
    return Geometry(_kv_shape(spec, tp), _state_shape(spec, tp), page_tokens)


def _kv_shape(spec: ModelSpec, tp: int) -> KvShape:
    latent = sum(isinstance(a, LatentAttention) for a in spec.full_attention)
    if latent:
        raise ConfigError(
            f"{spec.name}: {latent} layers keep a latent instead of K and V (MLA), which the "
            f"arena does not hold yet; serve a model with K and V per head"
        )
    shapes = {
        (a.kv_heads, a.head_dim, a.v_head_dim): None
        for a in spec.full_attention
        if isinstance(a, Attention) and a.owns_kv
    }
    if len(shapes) != 1:
        raise ConfigError(
            f"{spec.name}: {len(shapes)} different shapes (KV heads, K width, V width) of full "
            f"attention {sorted(shapes)}; the arena holds exactly one"
        )
    ((heads, head_dim, v_head_dim),) = shapes
    return KvShape(
        layers=sum(a.entry_bytes(spec.dtypes.kv) > 0 for a in spec.full_attention),
        heads=kv_heads_of_rank(heads, tp),
        head_dim=head_dim,
        v_head_dim=v_head_dim,
        itemsize=spec.dtypes.kv.itemsize,
    )


def _state_shape(spec: ModelSpec, tp: int) -> StateShape | None:
    shapes = dict.fromkeys(spec.state_parts(tp))
    if not shapes:
        return None
    if len(shapes) > 1:
        raise ConfigError(
            f"{spec.name}: state layers of {len(shapes)} different shapes "
            f"{[(s.conv, s.temporal) for s in shapes]}; the arena holds one shape a model"
        )
    (parts,) = shapes
    return StateShape(
        layers=len(spec.states),
        conv_shapes=parts.conv,
        conv_itemsize=spec.dtypes.conv.itemsize,
        temporal_shape=parts.temporal,
        temporal_itemsize=spec.dtypes.temporal.itemsize,
    )
