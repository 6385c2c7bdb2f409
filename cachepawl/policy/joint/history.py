"""What was learned, as a file: the latest spells by class, so that a restart knows them.

JSON, one object:

    {"format": "cachepawl-policy-history", "version": 1, "spells": [[class, age, ended], ...]}

*class* is a list of small integers (see `classes.BORDERS`), *age* milliseconds, *ended* 0 or 1.
Spells are in the order in which they began.  Nothing in it says what was asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from cachepawl.errors import ConfigError
from cachepawl.policy.joint.classes import not_a_class
from cachepawl.policy.joint.spells import MOST_SPELLS

FORMAT = "cachepawl-policy-history"
VERSION = 1
MOST_AGE = 1 << 53
REMEDY = "delete it to start without a history, or give another path"


PIECE = 128
"""Spells written without a pause."""


def no_pause() -> None:
    """Nobody else wants to work."""


class OldSpell(NamedTuple):
    """A spell of an earlier run."""

    key: tuple[int, ...]
    """Of its class."""
    age: int
    """Milliseconds."""
    ended: bool
    """Whether it ended with a use at that age, or was open when the file was written."""


def load(path: Path) -> list[OldSpell]:
    """The spells of a file; none if there is no file yet.

    ConfigError names the file, the field and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"policy history {path}: {why}; {REMEDY}") from None
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"policy history {path}: no JSON: {error}; {REMEDY}") from None
    return _parse(raw, path)


def _parse(raw: Any, path: Path) -> list[OldSpell]:
    if not isinstance(raw, dict) or set(raw) != {"format", "version", "spells"}:
        found = sorted(raw) if isinstance(raw, dict) else type(raw).__name__
        wanted = "format, spells, version"
        raise ConfigError(f"policy history {path}: fields {found}, not {wanted}; {REMEDY}")
    for field, value in (("format", FORMAT), ("version", VERSION)):
        if raw[field] != value or isinstance(raw[field], bool):
            raise ConfigError(
                f"policy history {path}: field {field} is {raw[field]!r}, not {value!r}; {REMEDY}"
            )
    spells = raw["spells"]
    if not isinstance(spells, list) or len(spells) > MOST_SPELLS:
        found = str(len(spells)) if isinstance(spells, list) else type(spells).__name__
        raise ConfigError(
            f"policy history {path}: field spells is {found}, not a list of at most "
            f"{MOST_SPELLS}; {REMEDY}"
        )
    return [_spell(value, f"policy history {path}: spells[{i}]") for i, value in enumerate(spells)]


def _spell(value: Any, where: str) -> OldSpell:
    match value:
        case [[*key], int(age), 0 | 1 as ended] if (
            type(age) is int and type(ended) is int and all(type(part) is int for part in key)
        ):
            spell = OldSpell(tuple(key), age, bool(ended))
            why = wrong_with(spell)
            if why is None:
                return spell
        case _:
            why = "not [class, age in milliseconds, 0 or 1]"
    raise ConfigError(f"{where} is {json.dumps(value)[:80]}: {why}; {REMEDY}")


def wrong_with(spell: OldSpell) -> str | None:
    """Why no run can have seen such a spell; None if one can."""
    if not 0 <= spell.age <= MOST_AGE:
        return f"its age is {spell.age}, not 0 to {MOST_AGE}"
    why = not_a_class(spell.key)
    return None if why is None else f"its class {list(spell.key)} does not exist: {why}"


def save(path: Path, spells: Iterable[OldSpell], pause: Callable[[], None] = no_pause) -> None:
    """Write a file in one step: the old one stays whole until the new one is.

    `pause` is called between pieces of the work.  What `load` would refuse is left out: a bug
    here must not cost the next start.  ConfigError when it cannot be written.
    """
    parts = [f'{{"format": "{FORMAT}", "version": {VERSION}, "spells": [']
    rows = (spell for spell in spells if wrong_with(spell) is None)
    while piece := [[spell.key, spell.age, int(spell.ended)] for spell in islice(rows, PIECE)]:
        parts.append(("," if len(parts) > 1 else "") + json.dumps(piece)[1:-1])
        pause()
    parts.append("]}\n")
    name = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as file:
            name = file.name
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(name)
        raise _unwritable(path, error) from None


def check(path: Path) -> None:
    """ConfigError when a server could not read the file, or not write one of that name."""
    load(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"policy history {path}: {error.strerror}; give a path that can be written")
