"""Bytes of a token and of a state under a server's flags, for one rank."""

from __future__ import annotations

from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.inputs.facts import Fact
from cachepawl.offline.sglang.memory.element_types import settled_dtypes
from cachepawl.specs import ModelSpec
from cachepawl.specs.attention import Attention, LatentAttention


def sizes_of(spec: ModelSpec, flags: ServerFlags, ranks: int) -> dict[str, Fact]:
    """Bytes of a rank, where `ranks` share the attention.

    ConfigError where they cannot share it, InputError for element types whose bytes are not
    known here.
    """
    typed = spec.with_dtypes(settled_dtypes(spec, flags))
    types = typed.dtypes
    source = f"{spec.name} on {ranks} ranks, KV {types.kv.name}, states {types.temporal.name}"
    sizes = {
        "entry_bytes": Fact(typed.kv_bytes_per_token(ranks), source),
        "state_bytes": Fact(typed.state_bytes(ranks), source),
        "kv_copies": Fact(_copies(typed, ranks), source),
    }
    return {name: fact for name, fact in sizes.items() if fact.value}


def _copies(spec: ModelSpec, ranks: int) -> int:
    """How many ranks keep the same KV."""
    if any(isinstance(layer, LatentAttention) for layer in spec.full_attention):
        return ranks
    heads = [a.kv_heads for a in spec.full_attention if isinstance(a, Attention)]
    return max(1, ranks // min(heads)) if heads else 1
