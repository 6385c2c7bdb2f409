"""The two input files, checked; whatever is wrong is one line that names file and field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cachepawl.errors import InputError
from cachepawl.offline.strict_json import read_object
from cachepawl.offline.vllm.schema import CachePlan, Notes, PlannerNotes, RuntimeNotes

MOST_FILE_BYTES = 64 << 20
"""Of a plan or its notes; those of a large model have some hundred kB."""

Model = TypeVar("Model", bound=BaseModel)


def read_plan(path: Path) -> CachePlan:
    """A cache plan.  InputError for a file that cannot be read or is none."""
    return _checked(CachePlan, read_object(path, MOST_FILE_BYTES), path)


def read_notes(path: Path) -> Notes:
    """Notes of either kind, told apart by their fields.  InputError as for a plan."""
    data = read_object(path, MOST_FILE_BYTES)
    if PlannerNotes.model_fields.keys() & data.keys():
        return _checked(PlannerNotes, data, path)
    return _checked(RuntimeNotes, data, path)


def _checked(model: type[Model], data: dict[str, Any], path: Path) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first, *more = error.errors(include_url=False)
        rest = f"; and {len(more)} more of its fields are wrong" if more else ""
        raise InputError(
            f"{path}: {_place(first['loc'])}{_found(first)}: {first['msg']}{rest}; "
            "export the file again (--json-schema prints what it may hold)"
        ) from None


def _found(error: Any) -> str:
    return "" if error["type"] == "missing" else f" is {_shown(error['input'])}"


def _place(steps: Sequence[str | int]) -> str:
    """`groups[0].cache_spec`.  Only a key that is no text at all has no place of its own."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in steps]
    return "".join(parts).lstrip(".") or "a key"


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return _short(ascii(value))


def _short(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    plain = "".join(c if c.isprintable() else "?" for c in plain)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."
