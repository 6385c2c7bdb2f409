"""Values of flags: their kinds, and reading them from text and from JSON."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from cachepawl.errors import InputError

HUMAN = frozenset({"context_length", "max_total_tokens", "max_prefill_tokens"})
"""Flags whose numbers may end in k, M, G, T (1000s) or Ki, Mi, Gi, Ti (1024s).

Source: `human_readable_int` (`sglang/srt/utils/common.py`).
"""
CHOICES = {
    "kv_cache_dtype": "auto fp8_e5m2 fp8_e4m3 mxfp8 bf16 bfloat16 nvfp4 fp4_mx_block16",
    "dtype": "auto half float16 bfloat16 float float32",
    "mamba_ssm_dtype": "float32 bfloat16 float16",
    "mamba_radix_cache_strategy": "auto no_buffer extra_buffer extra_buffer_lazy",
    "hicache_host_memory_mode": "cache buffer_only",
    "hicache_write_policy": "write_back write_through write_through_selective",
    "disaggregation_mode": "null prefill decode",
}
"""Flags with a fixed set of values that a plan depends on."""
_BASES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_THOUSANDS: dict[str, int] = {unit: 1000**n for n, unit in enumerate("kMGT", 1)}
_UNITS: dict[str, int] = (
    {"": 1} | _THOUSANDS | {f"{unit}i": 1024**n for n, unit in enumerate("KMGT", 1)}
)
_NUMBER = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,9}))?(k|[MGT]|[KMGT]i)?")


class Kind(NamedTuple):
    """What a flag takes."""

    base: type
    optional: bool
    human: bool
    choices: tuple[str, ...]


def kind_of(name: str, annotation: str) -> Kind:
    """The kind of a field, from its annotation: "int", "str | None" and the like."""
    base, bar, none = annotation.partition(" | ")
    assert none == ("None" if bar else ""), annotation
    return Kind(_BASES[base], bool(bar), name in HUMAN, tuple(CHOICES.get(name, "").split()))


def from_text(kind: Kind, where: str, text: str | None) -> Any:
    """A command line's text as a value; InputError when it is none of the flag's kind."""
    if kind.base is bool:
        if text is not None:
            raise InputError(f"{where}={text}: the flag takes no value; leave it out")
        return True
    if text is None:
        raise InputError(f"{where}: no value follows; give one")
    if kind.base is float:
        return _float(where, text)
    if kind.base is int:
        return _int(kind, where, text)
    return _chosen(kind, where, text)


def from_json(kind: Kind, where: str, value: object) -> Any:
    """A JSON value as a value of a flag; InputError when it is none of the flag's kind."""
    if value is None and kind.optional:
        return None
    if kind.base is float and type(value) is int:
        value = float(value)
    if type(value) is not kind.base or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{where}: {value!r} is no {_NAMES[kind.base]}")
    return _chosen(kind, where, value) if isinstance(value, str) else value


_NAMES = {str: "text", int: "whole number", float: "finite number", bool: "true or false"}


def _float(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where} {text}: not a finite number")
    return value


def _int(kind: Kind, where: str, text: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    whole, part, unit = match.groups() if match else ("", "", "")
    # Decimals are for thousands; what a fraction leaves over is cut off.
    decimals = part is not None and not (kind.human and unit in _THOUSANDS)
    if match is None or decimals or (unit and not kind.human):
        allowed = "a whole number, 25.6k or 64Ki" if kind.human else "a whole number"
        raise InputError(f"{where} {text}: give {allowed}")
    part = part or ""
    return int(whole + part) * _UNITS[unit or ""] // int("1" + "0" * len(part))


def _chosen(kind: Kind, where: str, text: str) -> str:
    if kind.choices and text not in kind.choices:
        raise InputError(f"{where} {text}: one of {', '.join(kind.choices)}")
    return text
