"""Whether a file is a recording, told without all that reads one."""

from __future__ import annotations

from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.files import numbered_lines
from cachepawl.record.verbs import FORMAT


def is_recording(path: Path) -> bool:
    """Whether a file begins as a log of `--cachepawl-trace` does; False for what cannot be read."""
    try:
        first = next(numbered_lines(path), (0, ""))[1]
    except InputError:
        return False
    return first.startswith(f'{{"format":"{FORMAT}"')
