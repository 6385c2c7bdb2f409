"""JSON as the standard has it: no NaN, no infinities, no key twice, no endless number."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from cachepawl.errors import InputError
from cachepawl.offline.files import MOST_BYTES, read_text

MOST_DIGITS = 400
"""Of an integer: any that a file of ours may hold is far shorter, any float is finite."""


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text; InputError names `where` it is from and what is wrong."""
    try:
        return _DECODER.decode(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        what = error.msg if text.strip() else "empty"
        raise InputError(f"{where}: not JSON: {what} ({at})") from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply") from None


def parse_object(text: str, where: str) -> dict[str, Any]:
    """As `parse_json`; InputError for anything but an object."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise InputError(f"{where}: a JSON object is needed, found {_kind(value)}")
    return value


def read_object(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object that a file holds; InputError for anything else."""
    return parse_object(read_text(path, most_bytes), str(path))


def _constant(name: str) -> float:
    raise InputError(f"{name} is not a number that JSON has")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InputError(f"the number {digits[:40]} is too large")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise InputError(f"a number of {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in value if counts[key] > 1)
        raise InputError(f"the key {twice[:80]!r} appears twice in one object")
    return value


_DECODER = json.JSONDecoder(
    parse_constant=_constant,
    parse_float=_float,
    parse_int=_integer,
    object_pairs_hook=_object,
)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), type(value).__name__)
