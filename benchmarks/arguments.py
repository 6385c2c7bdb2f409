"""Numbers on a command line: what is none, or out of range, is one line with the remedy.

No InputError: argparse takes any ValueError for its own, and leaves out what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from cachepawl.errors import CachepawlError

MOST_GIB = float(1 << 20)


def count(flag: str) -> Callable[[str], int]:
    """A converter for argparse: a whole number from 1 on, or CachepawlError."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise CachepawlError(f"{flag} {text}: give a whole number, 1 or more")
        return int(text)

    return convert


def number(flag: str, most: float = inf) -> Callable[[str], float]:
    """The same for a finite number above 0."""
    single = numbers(flag, most)

    def convert(text: str) -> float:
        found = single(text)
        if len(found) > 1:
            raise CachepawlError(f"{flag} {text}: give one number")
        return found[0]

    return convert


def numbers(flag: str, most: float = inf) -> Callable[[str], list[float]]:
    """The same for several with commas between, each once."""
    limit = "" if most == inf else f" and at most {most:g}"

    def convert(text: str) -> list[float]:
        found = [_float(part) for part in text.split(",")]
        for part, value in zip(text.split(","), found, strict=True):
            if value is None or not 0 < value <= most or value == inf:
                wanted = f"give numbers above 0{limit}, with commas between several"
                raise CachepawlError(f"{flag} {part.strip()}: {wanted}")
        return list(dict.fromkeys(value for value in found if value is not None))

    return convert


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
