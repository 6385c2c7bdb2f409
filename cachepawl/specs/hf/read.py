"""From a Hugging Face config.json to a ModelSpec."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from cachepawl.errors import ConfigError
from cachepawl.specs.hf.dense import read_dense
from cachepawl.specs.hf.fields import Fields
from cachepawl.specs.hf.hymba import read_hymba
from cachepawl.specs.hf.jamba import read_jamba
from cachepawl.specs.hf.kimi_linear import read_kimi_linear
from cachepawl.specs.hf.lfm2 import read_lfm2
from cachepawl.specs.hf.mamba import read_mamba1, read_mamba2
from cachepawl.specs.hf.mamba2_mixes import read_bamba, read_falcon_h1, read_granite
from cachepawl.specs.hf.nemotron_h import read_nemotron_h
from cachepawl.specs.hf.qwen import read_qwen
from cachepawl.specs.hf.recurrent_gemma import read_recurrent_gemma
from cachepawl.specs.hf.samba import read_samba
from cachepawl.specs.hf.state_spaces import read_state_spaces
from cachepawl.specs.hf.zamba2 import read_zamba2
from cachepawl.specs.model import ModelSpec

READERS: dict[str, Callable[[Fields, str], ModelSpec]] = {
    "bamba": read_bamba,
    "falcon_h1": read_falcon_h1,
    "falcon_mamba": read_mamba1,
    "granitemoehybrid": read_granite,
    "hymba": read_hymba,
    "jamba": read_jamba,
    "kimi_linear": read_kimi_linear,
    "lfm2": read_lfm2,
    "lfm2_moe": read_lfm2,
    "llama": read_dense,
    "mamba": read_mamba1,
    "mamba2": read_mamba2,
    "nemotron_h": read_nemotron_h,
    "qwen2": read_dense,
    "qwen3": read_dense,
    "qwen3_5": read_qwen,
    "qwen3_5_moe": read_qwen,
    "qwen3_5_moe_text": read_qwen,
    "qwen3_5_text": read_qwen,
    "qwen3_next": read_qwen,
    "recurrent_gemma": read_recurrent_gemma,
    "samba": read_samba,
    "zamba2": read_zamba2,
}
"""By `model_type`."""

_NESTED = ("text_config", "llm_config")


def read_config(path: str | Path) -> ModelSpec:
    """The spec of a config.json, or of the one in a folder.

    Raises ConfigError, naming file, field, value and remedy, for anything that is not
    the configuration of a known family.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    return spec_of(_load(file), str(file), file.resolve().parent.name)


def spec_of(
    config: Mapping[str, object], origin: str = "config.json", name: str = "model"
) -> ModelSpec:
    """The spec of a configuration already parsed; ConfigError as `read_config`.

    A model with a vision or audio tower is read through its text configuration.
    """
    for key in _NESTED:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            outer = {k: config[k] for k in ("model_type", "dtype", "torch_dtype") if k in config}
            return _dispatch({**outer, **inner}, origin, name, f"{key}.")
    return _dispatch(config, origin, name, "")


def _dispatch(config: Mapping[str, object], origin: str, name: str, inside: str) -> ModelSpec:
    fields = Fields(config, origin, inside)
    if "model_type" not in config and "ssm_cfg" in config:
        return read_state_spaces(fields, name)
    known = ", ".join(sorted(READERS))
    if not fields.has("model_type"):
        fields.refuse("model_type", f"give one of: {known}")
    reader = READERS.get(fields.text("model_type"))
    if reader is None:
        fields.refuse("model_type", f"this family is not read; known: {known}")
    return reader(fields, name)


def _load(file: Path) -> Mapping[str, object]:
    try:
        value = json.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); give a config.json or its folder"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not JSON that can be read ({error}); repair it") from None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file}: a {type(value).__name__}, not a JSON object; give a model's config.json"
        )
    return value
