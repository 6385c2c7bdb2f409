"""Fields of a trace's record, each with its type and its bounds."""

from __future__ import annotations

from typing import Any

from cachepawl.errors import InputError

MOST_TOKENS = 1 << 26
"""Of one prompt or answer: far beyond any context window."""
MOST_ID = (1 << 63) - 1
MOST_SECONDS = 1e10


def integer(record: dict[str, Any], name: str, least: int, most: int) -> int:
    """A whole number in `[least, most]`; InputError without the place, which the caller adds."""
    value = _present(record, name)
    if type(value) is not int:
        raise InputError(f"{name} is {shown(value)}; a whole number is needed")
    if not least <= value <= most:
        raise InputError(f"{name} is {shown(value)}; it must be from {least} to {most}")
    return value


def seconds(record: dict[str, Any], name: str, unit: float = 1.0) -> float:
    """A time of at least 0 in units of `unit` seconds, as seconds."""
    value = _present(record, name)
    if type(value) not in (int, float):
        raise InputError(f"{name} is {shown(value)}; a number is needed")
    if not 0 <= value <= MOST_SECONDS / unit:
        raise InputError(f"{name} is {shown(value)}; it must be from 0 to {MOST_SECONDS / unit:g}")
    return float(value * unit)


def ids(record: dict[str, Any], name: str, least: int, most: int) -> list[int]:
    """A list of block or token ids in `[least, most]`."""
    value = _present(record, name)
    if type(value) is not list:
        raise InputError(f"{name} is {shown(value)}; a list of whole numbers is needed")
    if set(map(type, value)) - {int}:
        wrong = next(x for x in value if type(x) is not int)
        raise InputError(f"{name} holds {shown(wrong)}; whole numbers are needed")
    if value and not (least <= min(value) and max(value) <= most):
        wrong = next(x for x in value if not least <= x <= most)
        raise InputError(f"{name} holds {shown(wrong)}; ids must be from {least} to {most}")
    return value


def shown(value: object) -> str:
    """A value for an error: on one line and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _present(record: dict[str, Any], name: str) -> object:
    if name not in record:
        raise InputError(f"{name} is missing")
    return record[name]
