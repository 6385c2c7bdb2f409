"""Bytes of a token and of a state under a server's flags, for one rank.

Element types as SGLang 0.5.23 settles them: `mem_cache/kv_cache_dtype.py` for KV,
`configs/mamba_utils.py` (`mamba2_state_dtype`) for states.
"""

from __future__ import annotations

from dataclasses import replace

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.inputs.facts import Fact
from cachepawl.specs import ElementType, ModelSpec, element_type
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.dtypes import BF16


def with_types(spec: ModelSpec, flags: ServerFlags) -> ModelSpec:
    """The model with the element types of its caches under these flags."""
    model = spec.dtypes.kv if flags.dtype == "auto" else _type(flags.dtype)
    kv = model if flags.kv_cache_dtype == "auto" else _type(flags.kv_cache_dtype)
    conv = flags.environment_value("SGLANG_MAMBA_CONV_DTYPE")
    temporal = flags.mamba_ssm_dtype or flags.environment_value("SGLANG_MAMBA_SSM_DTYPE")
    return spec.with_dtypes(
        replace(
            spec.dtypes,
            kv=kv,
            conv=BF16 if conv is None else _type(conv),
            temporal=spec.dtypes.temporal if temporal is None else _type(temporal),
        )
    )


def _type(name: str) -> ElementType:
    try:
        return element_type("mxfp4" if name == "fp4_mx_block16" else name)
    except ConfigError as error:
        raise InputError(str(error)) from None


def sizes_of(spec: ModelSpec, ranks: int) -> dict[str, Fact]:
    """Bytes of a rank, where `ranks` share the attention; InputError where they cannot."""
    source = f"{spec.name}, {ranks} tensor-parallel ranks, KV in {spec.dtypes.kv.name}"
    try:
        sizes = {
            "entry_bytes": Fact(spec.kv_bytes_per_token(ranks), source),
            "state_bytes": Fact(spec.state_bytes(ranks), source),
            "kv_copies": Fact(_copies(spec, ranks), source),
        }
    except ConfigError as error:
        raise InputError(str(error)) from None
    return {name: fact for name, fact in sizes.items() if fact.value}


def _copies(spec: ModelSpec, ranks: int) -> int:
    """How many ranks keep the same KV."""
    if any(isinstance(layer, LatentAttention) for layer in spec.full_attention):
        return ranks
    heads = [a.kv_heads for a in spec.full_attention if isinstance(a, Attention)]
    return max(1, ranks // min(heads)) if heads else 1
