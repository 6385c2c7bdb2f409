"""How pipeline stages divide a model's layers.  Source: `get_pp_indices`
(`sglang/srt/distributed/utils.py`): as evenly as can be, the last stages take one more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from cachepawl.errors import InputError
from cachepawl.specs.model import ModelSpec


def stages(spec: ModelSpec, pp: int) -> tuple[ModelSpec, ...]:
    """The model's part on each pipeline stage; InputError with more stages than layers."""
    layers = len(spec.layers)
    if not 1 <= pp <= layers:
        raise InputError(f"--pp-size {pp}: {spec.name} has {layers} layers; use at most as many")
    ends = [layers - (layers // pp) * left - min(left, layers % pp) for left in range(pp, -1, -1)]
    return tuple(replace(spec, layers=spec.layers[a:b]) for a, b in pairwise(ends))
