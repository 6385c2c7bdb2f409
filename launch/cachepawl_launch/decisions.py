"""A log of every decision, line by line, to compare processes that must decide alike."""

from __future__ import annotations

from pathlib import Path


class DecisionLog:
    """Appends to `path`; every line is flushed, so a killed server leaves a whole log."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, *words: object) -> None:
        print(*words, file=self._file)
