"""A log of every decision, line by line, to compare processes that must decide alike."""

from __future__ import annotations

from pathlib import Path

from cachepawl.errors import ConfigError


class DecisionLog:
    """Appends to `path`; every line is flushed, so a killed server leaves a whole log."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", buffering=1)
        except OSError as error:
            raise ConfigError(f"--cachepawl-decision-log {path}: {error.strerror}") from None

    def write(self, *words: object) -> None:
        print(*words, file=self._file)
