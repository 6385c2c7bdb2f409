"""Fields of a trace's record, each with its type and its bounds.

Errors name the field, what was found and what is allowed; the place in the file is added by
whoever reads the lines.
"""

from __future__ import annotations

from typing import Any

from cachepawl.errors import InputError

MOST_TOKENS = 1 << 26
"""Of one prompt or answer: far beyond any context window."""
MOST_ID = (1 << 63) - 1
MOST_SECONDS = 1e10
MOST_NAME = 200
"""Characters of a conversation's name."""

Fields = dict[str, Any]


def integer(record: Fields, name: str, least: int, most: int) -> int:
    """A whole number in `[least, most]`."""
    value = _present(record, name)
    if type(value) is not int:
        raise InputError(f"{name} is {shown(value)}; a whole number is needed")
    if not least <= value <= most:
        raise InputError(f"{name} is {shown(value)}; it must be from {least} to {most}")
    return value


def tokens(record: Fields, name: str, least: int = 0) -> int:
    """A number of tokens."""
    return integer(record, name, least, MOST_TOKENS)


def seconds(record: Fields, name: str, per_second: int = 1) -> float:
    """A time of at least 0, in units of which a second has `per_second`; as seconds."""
    value = _present(record, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name} is {shown(value)}; a number is needed")
    if not 0 <= value <= MOST_SECONDS * per_second:
        raise InputError(
            f"{name} is {shown(value)}; it must be from 0 to {MOST_SECONDS * per_second:g}"
        )
    return float(value) / per_second


def ids(record: Fields, name: str, most: int = MOST_ID) -> list[int]:
    """A list of ids in `[0, most]`."""
    value = _present(record, name)
    if type(value) is not list:
        raise InputError(f"{name} is {shown(value)}; a list of whole numbers is needed")
    if set(map(type, value)) - {int}:
        wrong = next(x for x in value if type(x) is not int)
        raise InputError(f"{name} holds {shown(wrong)}; whole numbers are needed")
    if value and not (min(value) >= 0 and max(value) <= most):
        wrong = next(x for x in value if not 0 <= x <= most)
        raise InputError(f"{name} holds {shown(wrong)}; ids must be from 0 to {most}")
    return value


def name(record: Fields, field: str) -> str:
    """A short text that can be shown."""
    value = _present(record, field)
    if type(value) is not str or not 0 < len(value) <= MOST_NAME or not value.isprintable():
        raise InputError(
            f"{field} is {shown(value)}; a text of 1 to {MOST_NAME} printable characters is needed"
        )
    return value


def objects(record: Fields, name: str) -> list[Fields]:
    """A list of objects, at least one."""
    value = _present(record, name)
    if type(value) is not list or not value:
        raise InputError(f"{name} is {shown(value)}; a list of at least one object is needed")
    for entry in value:
        if type(entry) is not dict:
            raise InputError(f"{name} holds {shown(entry)}; objects are needed")
    return value


def blocks(record: Fields, length: str, block_tokens: int, most: int = MOST_ID) -> list[int]:
    """`hash_ids`, as many as `record[length]` tokens take; a partial last block may lack its id."""
    found = ids(record, "hash_ids", most)
    count = tokens(record, length, 1)
    if not count // block_tokens <= len(found) <= -(-count // block_tokens):
        raise InputError(
            f"hash_ids has {len(found)} ids; {length} {count} takes {-(-count // block_tokens)} "
            f"blocks of {block_tokens} tokens"
        )
    return found


def shown(value: object) -> str:
    """A value for an error: on one line and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _present(record: Fields, name: str) -> object:
    if name not in record:
        raise InputError(f"{name} is missing")
    return record[name]
