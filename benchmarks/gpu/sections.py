"""Goes through the sections: one that fails or runs out of time takes no other with it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.gpu.budget import Budget, OutOfTime

Rows = list[dict[str, Any]]


class Section(NamedTuple):
    """What one gave."""

    name: str
    rows: Rows
    why_not: str | None
    """Why rows are missing that there was no time for."""


def go_through(
    names: Iterable[str], measure: Callable[[str], Iterable[dict[str, Any]]], budget: Budget
) -> Iterator[Section]:
    """All sections in order, each with the rows that it came to.

    An error is the last row of its section, with `error`; the traceback goes to stderr.
    """
    for name in names:
        rows: Rows = []
        why_not = None
        try:
            with budget.bounded():
                # Row by row: those before an error or the end of the time stay.
                for row in measure(name):
                    rows.append(row)
        except OutOfTime:
            why_not = f"out of time after {len(rows)} rows"
        except Exception as error:
            rows.append(error_row(name, error))
        yield Section(name, rows, why_not)


def attempt(row: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gives, or a row with its error."""
    try:
        return measure()
    except Exception as error:
        return error_row(row, error)


def error_row(row: str, error: Exception) -> dict[str, Any]:
    """Says on stderr where it came from."""
    print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    return {"row": row, "error": f"{type(error).__name__}: {error}"[:2000]}
