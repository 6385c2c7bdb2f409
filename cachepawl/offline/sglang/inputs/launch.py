"""A launch command in a file, or flags in one text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.files import read_text
from cachepawl.offline.sglang.flags import ServerFlags, parse_flags

_MOST_BYTES = 1 << 20


def read_launch(path: Path) -> ServerFlags:
    """The flags of the one command that a file (a shell script, or its last line) holds.

    Lines that are comments are left out.  InputError when there is no flag in it.
    """
    lines = read_text(path, _MOST_BYTES).replace("\r\n", "\n").split("\n")
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if text.lstrip().startswith("{"):
        raise InputError(f"{path}: JSON, not a launch command")
    return flags_of(text, str(path))


def flags_of(command: str | Sequence[str], where: str) -> ServerFlags:
    """The flags of a text in shell quoting, or of words.  InputError when there is none."""
    flags = parse_flags(command, where)
    if not flags.given and not any(word.startswith("--") for word in flags.rest):
        raise InputError(
            f"{where}: no flag of a server in it; give a launch command such as "
            f"python -m sglang.launch_server --model-path ... --page-size 16"
        )
    return flags
