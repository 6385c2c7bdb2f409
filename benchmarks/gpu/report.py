"""What was found, as a table for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.bars import Found, below_the_bar, failed

ABOUT = ("machine", "runs", "below_the_bar", "failed", "not_measured")
"""Keys of the JSON that are no sections."""


def table(rows: list[dict[str, Any]]) -> str:
    """A line a row, a column a key of any row."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key, "")) for key in keys] for row in rows]
    try:
        from tabulate import tabulate
    except ImportError:
        return plain([keys, *cells])
    aligned: str = tabulate(cells, keys, disable_numparse=True)
    return aligned


def plain(lines: list[list[str]]) -> str:
    """The same without a library."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,}" if number else str(value)


class Report:
    """The JSON of a run, rewritten after every section.

    With `keep` the sections that another run has left there stay, if it was the same machine;
    otherwise what was there is put aside as `*.old.json`.
    """

    def __init__(
        self, path: Path, machine: dict[str, Any], run: dict[str, Any], *, keep: bool
    ) -> None:
        self.path = path
        self._machine, self._run = machine, run
        old = _read(path)
        kept = old if keep and old.get("machine") == machine else {}
        if old and not kept:
            path.replace(path.with_suffix(".old.json"))
        self._found: Found = {key: kept[key] for key in kept if key not in ABOUT}
        self._runs: dict[str, Any] = kept.get("runs", {})
        self._not_measured: dict[str, str] = kept.get("not_measured", {})

    def add(self, section: str, rows: list[dict[str, Any]], why_not: str | None) -> None:
        """`why_not`: why rows are missing; where all are, those of another run stay."""
        self._not_measured.pop(section, None)
        if why_not:
            self._not_measured[section] = why_not
        if rows or not why_not:
            self._found[section], self._runs[section] = rows, self._run
        self._write()

    def _write(self) -> None:
        write_json(self.path, {
            "machine": self._machine, "runs": self._runs,
            "below_the_bar": below_the_bar(self._found), "failed": failed(self._found),
            "not_measured": self._not_measured, **self._found,
        })  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
