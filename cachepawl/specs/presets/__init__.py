"""Published models by name, each number with its source."""

from __future__ import annotations

from cachepawl.errors import ConfigError
from cachepawl.specs.presets import (
    jamba,
    kimi,
    lfm2,
    mamba2,
    mamba2_mixes,
    nemotron,
    qwen,
    windowed,
    zamba2,
)
from cachepawl.specs.presets.preset import Checked, Preset

__all__ = ["PRESETS", "Checked", "Preset", "preset"]

_MODULES = (qwen, nemotron, mamba2_mixes, kimi, lfm2, jamba, zamba2, mamba2, windowed)
PRESETS: dict[str, Preset] = {p.name: p for module in _MODULES for p in module.PRESETS}


def preset(name: str) -> Preset:
    """The preset of a model, by its whole name or the part after the owner, any case.

    ConfigError, listing the names, when there is none.
    """
    wanted = name.lower()
    for full, found in PRESETS.items():
        if wanted in (full.lower(), full.lower().split("/")[1]):
            return found
    raise ConfigError(f"no preset {name!r}; give a config.json, or one of: {', '.join(PRESETS)}")
