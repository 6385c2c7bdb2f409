"""The model: a `config.json` (or its folder) or the name of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.sglang.inputs.facts import Fact, Reading
from cachepawl.offline.strict_json import read_object
from cachepawl.specs import ModelSpec, spec_of
from cachepawl.specs.presets import PRESETS, preset

_MOST_BYTES = 16 << 20
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
"""Where the class of the configuration has a `mamba_chunk_size` of its own."""
_OTHER_NAME = ("nemotron_h", "mamba2")
"""Families that also say `chunk_size`."""


class Model(NamedTuple):
    """A spec, and what the configuration says besides."""

    spec: ModelSpec
    reading: Reading


def read_model(name: str) -> Model:
    """The model of a path or a preset's name.  InputError when neither can be read."""
    path = Path(name)
    if path.suffix == ".json" or _exists(path):
        path = path / "config.json" if path.is_dir() else path
        config, source = read_object(path, _MOST_BYTES), str(path)
        spec = _spec(config, source, path.resolve().parent.name)
        return _model(spec, config, source)
    try:
        found = preset(name)
    except ConfigError:
        raise InputError(
            f"--model {name[:80]!r}: no such file and no preset of that name; give a config.json, "
            f"its folder, or one of: {', '.join(PRESETS)}"
        ) from None
    return _model(found.spec(), found.config, f"preset {found.name}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _spec(config: Mapping[str, object], source: str, name: str) -> ModelSpec:
    try:
        return spec_of(config, source, name)
    except ConfigError as error:
        raise InputError(str(error)) from None


def _model(spec: ModelSpec, config: Mapping[str, object], source: str) -> Model:
    facts = dict[str, Fact]()
    if spec.states:
        facts["state_chunk"] = Fact(_state_chunk(config, source), f"{source} mamba_chunk_size")
    inner = config.get("text_config")
    holder = inner if isinstance(inner, Mapping) else config
    longest = _positive(holder, "max_position_embeddings", source)
    if longest is not None:
        facts["model_context"] = Fact(longest, f"{source} max_position_embeddings")
    return Model(spec, Reading(source, facts))


def _state_chunk(config: Mapping[str, object], source: str) -> int:
    """SGLang's `mamba_chunk_size` of the model, 64 where its configuration has none."""
    family = config.get("model_type")
    names = ["mamba_chunk_size", "chunk_size"] if family in _OTHER_NAME else ["mamba_chunk_size"]
    if family not in ("lfm2", "lfm2_moe", "mamba", "falcon_mamba"):
        for name in names:
            value = _positive(config, name, source)
            if value is not None:
                return value
    return _CHUNKS.get(str(family), PLAIN_CHUNK)


def _positive(config: Mapping[str, object], name: str, source: str) -> int | None:
    value = config.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**12:
        raise InputError(
            f"{source}: {name} is {str(value)[:40]!r}; it must be a whole number above 0"
        )
    return value
