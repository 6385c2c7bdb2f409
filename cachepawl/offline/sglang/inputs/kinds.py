"""What a file looks like, for the message when it was given to the wrong option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.files import read_chunks

_MARKS = (
    ("--server-info", re.compile(r'"internal_states"\s*:|"launch_command"\s*:')),
    ("--model", re.compile(r'"(model_type|architectures)"\s*:')),
    ("--log", re.compile(r"^\[\d{4}-\d\d-\d\d |\bserver_args=\{", re.MULTILINE)),
    ("--metrics", re.compile(r"^(# (HELP|TYPE) |sglang:\w+[{ ])", re.MULTILINE)),
    ("--launch", re.compile(r"launch_server|\bsglang serve\b")),
)
_LOOKED_AT = 1 << 18


@contextmanager
def for_option(path: Path, option: str) -> Iterator[None]:
    """Adds to an InputError which other option the file seems to be for."""
    try:
        yield
    except InputError as error:
        other = looks_like(path)
        if other in (None, option):
            raise
        raise InputError(f"{error}; it looks like a file for {other}") from None


def looks_like(path: Path) -> str | None:
    """The option that a file seems to be for."""
    text = _beginning(path)
    return next((option for option, mark in _MARKS if mark.search(text)), None)


def _beginning(path: Path) -> str:
    """What can be read of the file's beginning."""
    data = b""
    try:
        for part in read_chunks(path):
            data += part
            if len(data) >= _LOOKED_AT:
                break
    except InputError:
        pass
    return data[:_LOOKED_AT].decode("utf-8", "replace")
