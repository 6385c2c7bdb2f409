"""Bytes of one token and of one state as SGLang prices them for one rank."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.offline.sglang.memory.settle import Settled
from cachepawl.offline.sglang.memory.stages import stages


class Prices(NamedTuple):
    """What a rank is charged.

    `kv` lists bytes a token by pipeline stage, the draft's KV included; a stage without
    attention has 0.  `state` is one state slot, the same on every stage: that of the stage
    with the most state layers.
    """

    kv: tuple[int, ...]
    state: int


def prices(s: Settled, draft_layers: int) -> Prices:
    """Source: `DefaultPoolConfigurator` (`sglang/srt/model_executor/pool_configurator.py`)
    for KV, `KVCacheConfigurator._handle_max_mamba_cache` for states."""
    parts = stages(s.spec, s.pp)
    kv = []
    for part in parts:
        cell, layers = part.kv_bytes_per_token(s.tp), len(part.full_attention)
        # A draft is taken to have the target's bytes a layer.
        kv.append(cell + (int(cell * draft_layers / layers) if layers else 0))
    return Prices(tuple(kv), _state(s, [len(part.states) for part in parts]))


def _state(s: Settled, layers: list[int]) -> int:
    whole, total = s.spec.state_bytes(s.tp), sum(layers)
    return whole if s.pp == 1 or not total else int(whole * (max(layers) / total))
