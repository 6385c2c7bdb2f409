"""Documents and data as text: JSON, markdown, and one HTML page that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

from cachepawl.offline.document import (
    Block,
    Document,
    Drawing,
    Heading,
    Plot,
    Pre,
    Table,
    Text,
)

_NUMBER = re.compile(r"[~<>≈]? ?[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ?(%|x|[KMGT]?i?B))?")
"""A number as a cell may show it: a sign before, a unit behind."""


def to_json(data: dict[str, Any]) -> str:
    """Indented by two, keys sorted, a final newline.  ValueError for NaN and infinities."""
    return json.dumps(data, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def to_markdown(document: Document) -> str:
    """The document for a terminal or a file; plots and drawings are named, not drawn."""
    parts = [f"# {document.title}", document.lead]
    parts += [_markdown(block) for block in document.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Text(markdown):
            return markdown.strip()
        case Pre(text):
            return f"```\n{text.rstrip()}\n```"
        case Table(columns, rows, title, note):
            head = f"**{title}**" if title else ""
            return _joined(head, table_lines(columns, rows), note)
        case Plot(title, _, note) | Drawing(title, _, note):
            return _joined(f"*{title}*: drawn in the HTML page.", note)
    raise AssertionError(block)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def table_lines(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in markdown; None is an empty cell, `|` is escaped."""
    from tabulate import tabulate

    cells = [[cell_text(cell).replace("|", "\\|") for cell in row] for row in rows]
    kinds = [list(column) for column in zip(*rows, strict=True)]
    right = [bool(column) and all(map(_is_number, column)) for column in kinds]
    align = ["right" if r else "left" for r in right] or None
    text: str = tabulate(
        cells, headers=list(columns), tablefmt="pipe", disable_numparse=True, colalign=align
    )
    return text


def cell_text(cell: Any) -> str:
    """A cell as people read it: thousands set apart, four digits of a fraction."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return " ".join(str(cell).split("\n"))


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return _NUMBER.fullmatch(cell.strip()) is not None
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def to_html(document: Document) -> str:
    """The document as one page with its styles, scripts and figures inside.

    Texts are escaped; figures and drawings are the caller's own and trusted.
    """
    import jinja2
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    page = resources.files("cachepawl.offline").joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markdown"] = lambda text: Markup(reader.render(text))
    environment.filters["cell"] = cell_text
    environment.tests["number"] = _is_number
    blocks = [(type(block).__name__, block) for block in document.blocks]
    plots = [block.figure for block in document.blocks if isinstance(block, Plot)]
    return environment.from_string(page).render(
        title=document.title,
        lead=document.lead,
        blocks=blocks,
        figures=Markup(_script_json(plots)),
        plotly=Markup(_plotly() if plots else ""),
    )


def _script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
