"""The figures as tables for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

Rows = list[dict[str, Any]]

TREE_FIGURES = {"ours_us": "ours", "python_us": "python", "rust_us": "rust",
                "adapter_us": "adapter", "bare_us": "bare tree"}  # fmt: skip
TREE_RATIOS = {"python / ours": ("python_us", "ours_us"), "rust / ours": ("rust_us", "ours_us")}
ALLOC_FIGURES = {"host_us": "host", "indices_us": "indices", "whole_us": "whole",
                 "sglang_us": "sglang, CPU tensors"}  # fmt: skip
ALLOC_RATIOS = {
    "sglang / whole": ("sglang_us", "whole_us"),
    "sglang / host": ("sglang_us", "host_us"),
}


def show_tree(console: Console, rows: Rows) -> None:
    """One table a page size."""
    _show(console, "Tree", rows, TREE_FIGURES, TREE_RATIOS)


def show_alloc(console: Console, rows: Rows) -> None:
    """One table a page size."""
    _show(console, "Allocation", rows, ALLOC_FIGURES, ALLOC_RATIOS)


def show_rows(console: Console, title: str, rows: Rows) -> None:
    """Rows as they are, one column a key."""
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:,}" for v in row.values()))
    console.print(table)


def _show(
    console: Console,
    title: str,
    rows: Rows,
    figures: dict[str, str],
    ratios: dict[str, tuple[str, str]],
) -> None:
    for page in sorted({row["page"] for row in rows}):
        table = Table(
            title=f"{title}, page {page}: median CPU time of a call, µs", title_justify="left"
        )
        table.add_column("row")
        for heading in (*figures.values(), *ratios):
            table.add_column(heading, justify="right")
        for row in rows:
            if row["page"] == page:
                cells = [_cell(row[key], "{:.1f}".format) for key in figures]
                cells += [_cell(_ratio(row, *pair), "{:.2f}x".format) for pair in ratios.values()]
                table.add_row(row["row"], *cells)
        console.print(table)


def _cell(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _ratio(row: dict[str, Any], above: str, below: str) -> float | None:
    if row[above] is None or row[below] is None:
        return None
    return float(row[above] / row[below])
