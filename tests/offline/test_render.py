"""One document, three forms; the page draws itself in a real browser without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from browser import drawn_page, plots_in

from cachepawl.offline.document import Document, Drawing, Heading, Plot, Pre, Table, Text
from cachepawl.offline.render import cell_text, to_html, to_json, to_markdown

NASTY = "<script>alert(1)</script> & </style> | `x`"
DOCUMENT = Document(
    f"Title {NASTY}",
    "The *answer* in a sentence.",
    [
        Heading("Part"),
        Text(f"Some text, {NASTY}"),
        Table(("name", "bytes"), [["a|b", 1234567], [NASTY, None]], "Things", "a note"),
        Pre(f"  kept   spaces {NASTY}"),
        Plot("Over time", {"data": [{"x": [1, 2], "y": [3, 4], "name": NASTY}], "layout": {}}),
        Plot("Bars", {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}, "why"),
        Drawing("Shape", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    ],
)


def test_markdown() -> None:
    text = to_markdown(DOCUMENT)
    assert text.startswith("# Title")
    assert "| a\\|b" in text
    assert "| 1,234,567 |" in text
    assert "*Over time*: drawn in the HTML page." in text
    assert text.endswith("\n")


def test_json_is_sorted_and_strict() -> None:
    assert (
        to_json({"b": 1, "a": [None, "é"]})
        == '{\n  "a": [\n    null,\n    "é"\n  ],\n  "b": 1\n}\n'
    )
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


def test_the_page_escapes_and_asks_for_nothing() -> None:
    html = to_html(DOCUMENT)
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 4
    own = html.split("<script>")[0] + html.split("const figures")[1]
    assert "src=" not in own
    assert "href=" not in own
    assert "http://" not in own.replace("http://www.w3.org/2000/svg", "")


def test_a_page_without_plots_is_small() -> None:
    assert len(to_html(Document("t", "l", [Text("x")]))) < 10_000


def test_the_page_draws_in_a_browser(tmp_path: Path) -> None:
    dom = drawn_page(to_html(DOCUMENT), tmp_path)
    assert plots_in(dom) == 2
    assert dom.count('class="main-svg"') >= 2
    assert "Title &lt;script&gt;" in dom
    buttons = set(re.findall(r'data-title="([^"]*)"', dom))
    assert "Download plot as a PNG" in buttons
    assert not any("hare" in button or "loud" in button for button in buttons)


def test_cells() -> None:
    shown = [cell_text(c) for c in (None, True, 12345, 0.123456, 12345.6, "a\nb")]
    assert shown == ["", "yes", "12,345", "0.1235", "12,346", "a b"]


def test_numbers_to_the_right() -> None:
    table = Table(("n", "version"), [[1, "1.2.3"], ["2 %", "4.5.6"]])
    text = to_markdown(Document("t", "", [table]))
    assert "|----:|:----------|" in text.replace(" ", "")
    json.dumps(table.rows)
