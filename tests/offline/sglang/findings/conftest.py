"""Configurations to diagnose, made of a few numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.flags import parse_flags
from cachepawl.offline.sglang.inputs.facts import Fact, Facts
from cachepawl.specs import spec_of
from cachepawl.specs.presets import preset

GDN = "Qwen3-Next-80B-A3B-Instruct"
DENSE = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 264,
}


@pytest.fixture
def make() -> Callable[..., Case]:
    """`make(flags, model=, **facts)`: "dense" is a model without states, None no model."""

    def case(flags: str | None = "", model: str | None = GDN, **facts: float) -> Case:
        values = {name: Fact(value, "test") for name, value in facts.items()}
        known = None if flags is None else parse_flags(flags)
        if model is None:
            return Case(Facts(values), known)
        if model == "dense":
            return Case(Facts(values), known, spec_of(DENSE))
        found = preset(model)
        chunk = {"state_chunk": Fact(64, "test")} | values
        ours = known is not None and "cachepawl.launch_server" in known.rest
        return Case(Facts(chunk), known, found.spec(), ours)

    return case
