"""What a file looks like, for the message when it was given to the wrong option."""

from __future__ import annotations

import re
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


def hint(path: Path, option: str) -> str:
    """A remedy that names the option that a file seems to be for, other than `option`."""
    text = _beginning(path)
    for other, mark in _MARKS:
        if mark.search(text):
            return f"; it looks like a file for {other}" if other != option else ""
    return ""


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
