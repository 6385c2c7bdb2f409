"""A writer of SVG: rectangles and words in classes whose colours a style sheet has.

The sheet follows the reader's choice of light or dark.  Everything is escaped by xml.etree;
characters that XML cannot hold are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from cachepawl.offline.map.kinds import FIRM, LOOKS

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FONT = 11
"""Pixels."""
GAP = 18.0
"""Pixels between drawings."""
TITLE = 26.0
"""Pixels that a title takes."""
CHARACTER = 6.1
"""Pixels that a character takes at that size, on average."""


class Canvas:
    """A drawing of `width` by `height` pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        size = f"{_number(width)} {_number(height)}"
        self.root = ET.Element(
            "svg",
            {"viewBox": f"0 0 {size}", "width": _number(width), "height": _number(height),
             "class": "pawl", "role": "img", "aria-label": _clean(title)},
        )  # fmt: skip
        self._into = self.root

    def group(self, title: str) -> None:
        """What follows says `title` when it is pointed at."""
        self._into = ET.SubElement(self.root, "g")
        ET.SubElement(self._into, "title").text = _clean(title)

    def ungroup(self) -> None:
        """What follows says nothing."""
        self._into = self.root

    def box(self, x: float, y: float, width: float, height: float, look: str) -> None:
        """A rectangle of a class; nothing at all if it has no size."""
        if width > 0 and height > 0:
            ET.SubElement(
                self._into,
                "rect",
                {"x": _number(x), "y": _number(y), "width": _number(width),
                 "height": _number(height), "class": look},
            )  # fmt: skip

    def words(
        self, x: float, y: float, text: str, look: str = "ink", anchor: str = "start"
    ) -> None:
        """Text on the base line `y`; `anchor` says which end of it is at `x`."""
        found = {"x": _number(x), "y": _number(y), "class": look, "text-anchor": anchor}
        ET.SubElement(self._into, "text", found).text = _clean(text)


def stack(canvases: Sequence[Canvas], title: str) -> str:
    """One SVG document of drawings below each other, each under its title."""
    width = max(canvas.width for canvas in canvases) + 2 * GAP
    height = sum(TITLE + canvas.height + GAP for canvas in canvases) + GAP
    whole = Canvas(width, height, title)
    whole.box(0, 0, width, height, "paper")
    at = GAP
    for canvas in canvases:
        whole.words(GAP, at + 14, canvas.title, "ink title")
        at += TITLE
        canvas.root.set("x", _number(GAP))
        canvas.root.set("y", _number(at))
        whole.root.append(canvas.root)
        at += canvas.height + GAP
    return to_text(whole)


def to_text(canvas: Canvas) -> str:
    """The SVG element with its style sheet."""
    root = canvas.root
    root.set("xmlns", "http://www.w3.org/2000/svg")
    style = ET.Element("style")
    style.text = STYLE
    root.insert(0, style)
    text: str = ET.tostring(root, encoding="unicode")
    return text + "\n"


def fitting(width: float, *texts: str) -> str:
    """The first of the texts that fits into so many pixels, or none."""
    return next((text for text in texts if CHARACTER * len(text) + 6 <= width), "")


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)


def _style() -> str:
    def sheet(ink: str, soft: str, line: str, paper: str, column: int) -> str:
        rules = [f".pawl .{kind}{{fill:{look[column]}}}" for kind, look in LOOKS.items()]
        rules += [
            f".pawl .on{{fill:{ink}}} .pawl .on_firm{{fill:{paper}}}",
            f".pawl .ink{{fill:{ink}}} .pawl .soft{{fill:{soft}}} .pawl .paper{{fill:{paper}}}",
            f".pawl .line{{fill:{line}}}",
            f".pawl .free,.pawl .frame{{fill:none;stroke:{line}}}",
            f".pawl .many{{fill:none;stroke:{soft};stroke-dasharray:3 2}}",
        ]
        return "".join(rules)

    light = sheet("#1c2330", "#5b6472", "#c3cad5", "#ffffff", 2)
    dark = sheet("#e4e8ef", "#9aa5b5", "#465062", "#14181f", 3)
    return (
        f".pawl text{{font:{FONT}px system-ui,sans-serif}} .pawl .title{{font-weight:600;"
        f"font-size:14px}} .pawl .faint{{fill-opacity:.45}}{light}"
        f"@media (prefers-color-scheme: dark){{{dark}}}"
    )


STYLE = _style()


def on(kind: str) -> str:
    """The class of text that stands on a kind's colour."""
    return "on_firm" if kind in FIRM else "on"
