"""Fields of a line, checked against the table of verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachepawl.offline.recorded.paths import Paths
from cachepawl.record.verbs import VERBS, Kind
from cachepawl.tree import Reason

MOST = 1 << 53
"""Of any number: what JSON readers agree on."""
Rows = tuple[int, ...]
_REASONS = frozenset(reason.value for reason in Reason)


def parse_fields(
    verb: str, values: list[Any], paths: Paths, rows: Rows | None
) -> tuple[tuple[Any, ...], Rows | None]:
    """The fields of a line, keys as places; and the rows that the next line may repeat.

    ValueError names the field that is wrong.
    """
    kinds = VERBS[verb].fields
    if len(values) != len(kinds):
        raise ValueError(f"{len(values)} fields, not {len(kinds)}")
    out: list[Any] = []
    for at, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        try:
            if kind is Kind.KEY:
                out.append(_key(value, paths))
            elif kind is Kind.ROWS:
                rows = _rows(value, rows)
                out.append(rows)
            else:
                out.append(_PLAIN[kind](value))
        except ValueError as error:
            raise ValueError(f"field {at + 3}, {kind.value}: {error}") from None
    return tuple(out), rows


def _key(value: Any, paths: Paths) -> Any:
    numbers = _integers(value)
    if len(numbers) != 3:
        raise ValueError(f"{len(numbers)} numbers, not segment, pages, rest")
    return paths.place(*numbers)


def _rows(value: Any, before: Rows | None) -> Rows:
    if value is not None:
        return _integers(value)
    if before is None:
        raise ValueError("null, and no rows before it")
    return before


def _integer(value: Any) -> int:
    if type(value) is not int or not -MOST <= value <= MOST:
        raise ValueError(f"{str(value)[:40]!r} is not a number of that kind")
    return value


def _maybe(value: Any) -> int | None:
    return None if value is None else _integer(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _integers(value: Any) -> tuple[int, ...]:
    if type(value) is not list:
        raise ValueError(f"{str(value)[:40]!r} is not an array")
    return tuple(map(_integer, value))


def _maybe_integers(value: Any) -> tuple[int, ...] | None:
    return None if value is None else _integers(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{str(value)[:40]!r} is not a text")
    return value


def _misses(value: Any) -> tuple[tuple[str, int, int, int | None, str], ...]:
    if type(value) is not list or not all(type(m) is list and len(m) == 5 for m in value):
        raise ValueError("arrays of reason, tokens, depth, age, policy are needed")
    out = []
    for reason, tokens, upto, age, by in value:
        if _text(reason) not in _REASONS:
            raise ValueError(f"no such reason: {reason[:40]!r}")
        out.append((reason, _integer(tokens), _integer(upto), _maybe(age), _text(by)))
    return tuple(out)


_PLAIN: dict[Kind, Callable[[Any], Any]] = {
    Kind.INT: _integer,
    Kind.MAYBE: _maybe,
    Kind.FLAG: _flag,
    Kind.INTS: _integers,
    Kind.MAYBE_INTS: _maybe_integers,
    Kind.SUM: _maybe,
    Kind.NAME: _text,
    Kind.TEXT: _text,
    Kind.MISSES: _misses,
}
