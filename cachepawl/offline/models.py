"""A model as a person names it: a preset, a config.json or a checkpoint's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cachepawl.offline.strict_json import read_object
from cachepawl.specs.headers import weight_bytes
from cachepawl.specs.hf.read import spec_of
from cachepawl.specs.model import ModelSpec
from cachepawl.specs.presets import preset

_CONTEXT_KEYS = (
    "max_sequence_length",
    "seq_length",
    "max_seq_len",
    "model_max_length",
    "max_position_embeddings",
)
_PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BMbm])(?![A-Za-z0-9])")


class Weights(NamedTuple):
    """Bytes of all ranks together, and how they are known."""

    bytes: int
    source: str


class Model(NamedTuple):
    """What is known of a model before it is loaded."""

    name: str
    spec: ModelSpec
    context: int | None
    """Longest request by its configuration, in tokens; None where that does not say."""
    weights: Weights | None


def load_model(given: str) -> Model:
    """The preset of that name, or the model in a file or a folder, whichever there is.

    ConfigError or InputError in one line for what is neither, and for a model not known.
    """
    path = Path(given)
    if not (path.exists() or given.endswith(".json") or given.startswith(("/", "./", "~"))):
        found = preset(given)
        spec = found.spec()
        return Model(found.name, spec, model_context(found.config), _by_name(found.name, spec))
    path = path.expanduser()
    file = path / "config.json" if path.is_dir() else path
    config = read_object(file)
    name = file.resolve().parent.name
    spec = spec_of(config, str(file), name)
    weights = _in_folder(file.parent) or _by_name(name, spec)
    return Model(name, spec, model_context(config), weights)


def model_context(config: Mapping[str, object]) -> int | None:
    """The context length of a configuration, as SGLang derives it; None where it says nothing.

    SGLang then takes what its own class for the model has by default.  Source:
    `get_context_length` (`sglang/srt/utils/hf_transformers/common.py`).
    """
    for inner in ("text_config", "llm_config"):
        part = config.get(inner)
        if isinstance(part, Mapping):
            return model_context(part)
    values = (config.get(key) for key in _CONTEXT_KEYS)
    length = next((v for v in values if type(v) is int and v > 0), None)
    return None if length is None else int(length * _rope_factor(config.get("rope_scaling")))


def _rope_factor(scaling: object) -> float:
    if not isinstance(scaling, Mapping) or "original_max_position_embeddings" in scaling:
        return 1
    factor = scaling.get("factor", 1)
    plain = scaling.get("rope_type") != "llama3" and type(factor) in (int, float) and factor > 0
    return factor if plain else 1


def _in_folder(folder: Path) -> Weights | None:
    found = weight_bytes(folder)
    return None if found is None else Weights(found, "the checkpoint's safetensors headers")


def _by_name(name: str, spec: ModelSpec) -> Weights | None:
    """A count in the name ("80B") times the model's element type."""
    match = _PARAMETERS.search(name)
    if match is None:
        return None
    count = float(match[1]) * (10**9 if match[2] in "Bb" else 10**6)
    source = f"{match[0]} parameters by its name, as {spec.dtypes.kv.name}"
    return Weights(int(count * spec.dtypes.kv.itemsize), source)
