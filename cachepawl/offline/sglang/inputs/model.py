"""The model, and what its configuration says besides its spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline import models
from cachepawl.offline.sglang.inputs.facts import Fact, Reading
from cachepawl.offline.strict_json import read_object
from cachepawl.specs import ModelSpec
from cachepawl.specs.presets import PRESETS

PLAIN_CHUNK = 64
"""Tokens; what SGLang's linear-attention kernels step by (`chunk_delta_h.CHUNK_SIZE`)."""
_CHUNKS = {
    "bamba": 256,
    "falcon_h1": 256,
    "falcon_mamba": 256,
    "granitemoehybrid": 256,
    "lfm2": 1,
    "lfm2_moe": 1,
    "mamba": 256,
    "mamba2": 256,
    "nemotron_h": 256,
}
"""`mamba_chunk_size` where the class of the configuration has one of its own."""
_FIXED = ("falcon_mamba", "lfm2", "lfm2_moe", "mamba")
"""Families whose class has it as a constant."""
_OTHER_NAME = ("mamba2", "nemotron_h")
"""Families that also say `chunk_size`."""


class Model(NamedTuple):
    """A model before it is loaded, and its reading."""

    known: models.Model
    reading: Reading

    @property
    def spec(self) -> ModelSpec:
        return self.known.spec


def read_model(given: str) -> Model:
    """The model of a path or a preset's name.  InputError when neither can be read."""
    try:
        known = models.load_model(given)
    except ConfigError as error:
        raise InputError(str(error)) from None
    config, source = _config(given, known.name)
    facts = dict[str, Fact]()
    if known.spec.states:
        facts["state_chunk"] = Fact(_state_chunk(config, source), f"{source} mamba_chunk_size")
    if known.context is not None:
        facts["model_context"] = Fact(known.context, f"{source} max_position_embeddings")
    return Model(known, Reading(source, facts))


def _config(given: str, name: str) -> tuple[Mapping[str, object], str]:
    """The configuration that the model was read from."""
    if name in PRESETS and not Path(given).exists():
        return PRESETS[name].config, f"preset {name}"
    path = Path(given).expanduser()
    path = path / "config.json" if path.is_dir() else path
    return read_object(path), str(path)


def _state_chunk(config: Mapping[str, object], source: str) -> int:
    """SGLang's `mamba_chunk_size` of the model, 64 where its configuration has none."""
    family = str(config.get("model_type"))
    names = ("mamba_chunk_size", "chunk_size") if family in _OTHER_NAME else ("mamba_chunk_size",)
    for name in () if family in _FIXED else names:
        value = config.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value < 10**9:
            raise InputError(
                f"{source}: {name} is {str(value)[:40]!r}; it must be a whole number above 0"
            )
        return value
    return _CHUNKS.get(family, PLAIN_CHUNK)
