"""What a command has to say, before it is known how it will be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Heading(NamedTuple):
    """Starts a section."""

    text: str


class Text(NamedTuple):
    """Paragraphs and lists, in markdown; no HTML."""

    markdown: str


class Table(NamedTuple):
    """Rows under columns.  Cells are shown as given; numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    title: str = ""
    note: str = ""


class Plot(NamedTuple):
    """A plotly figure as a plain dict of `data` and `layout`."""

    title: str
    figure: dict[str, Any]
    note: str = ""


class Drawing(NamedTuple):
    """An SVG element, from its `<svg` on."""

    title: str
    svg: str
    note: str = ""


class Pre(NamedTuple):
    """Text whose spaces and line ends count."""

    text: str


Block = Heading | Text | Table | Plot | Drawing | Pre


class Document(NamedTuple):
    """A page: what it is about, the answer in a sentence or two, then the rest."""

    title: str
    lead: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """The same result twice: for programs and for people."""

    data: dict[str, Any]
    """JSON-able; numbers are finite."""
    document: Document
