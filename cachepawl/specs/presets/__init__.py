"""Published models by name, each number with its source."""

from __future__ import annotations

import difflib

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

    The beginning of either is enough where only one model has it.  ConfigError when none has
    it or several have: it names those that come near.
    """
    wanted = name.lower()
    names = {full: (full.lower(), full.lower().partition("/")[2]) for full in PRESETS}
    for full, known in names.items():
        if wanted in known:
            return PRESETS[full]
    begun = [full for full, forms in names.items() if wanted and _begins(forms, wanted)]
    if len(begun) == 1:
        return PRESETS[begun[0]]
    if begun:
        raise ConfigError(f"{name!r} is short for {len(begun)} presets: {', '.join(begun)}")
    raise ConfigError(f"no preset {name[:80]!r}; give a config.json, or {_near(wanted)}")


def _begins(forms: tuple[str, str], wanted: str) -> bool:
    return any(form.startswith(wanted) for form in forms)


def _near(wanted: str) -> str:
    forms = {full.partition("/")[2].lower(): full for full in PRESETS}
    near = [forms[form] for form in difflib.get_close_matches(wanted, forms, n=3, cutoff=0.4)]
    return f"one of: {', '.join(near or PRESETS)}"
