"""A map as a report: the picture's own data, and pages for terminals and browsers."""

from __future__ import annotations

from cachepawl.offline.document import Block, Document, Drawing, Heading, Pre, Report, Table
from cachepawl.offline.map.drawings import draw_bytes, draw_frames, draw_tree
from cachepawl.offline.map.kinds import LOOKS, bytes_text, share_text
from cachepawl.offline.map.picture import Picture
from cachepawl.offline.map.svg import Canvas, stack, to_text
from cachepawl.offline.map.text import frames_text, tree_text
from cachepawl.offline.map.words import sentence


def text_report(picture: Picture, title: str) -> Report:
    """For a terminal."""
    blocks: list[Block] = [
        _table(picture),
        Heading("The tree"),
        Pre(tree_text(picture)),
        Heading("The frames"),
        Pre(frames_text(picture)),
    ]
    return _report(picture, title, blocks)


def page_report(picture: Picture, title: str) -> Report:
    """For a browser; point at a node or a cell to read about it."""
    blocks: list[Block] = [Drawing(canvas.title, to_text(canvas)) for canvas in _drawn(picture)]
    counters: list[list[str | int]] = [
        [name.replace("_", " "), value] for name, value in picture.stats.items()
    ]
    blocks += [Heading("Counters"), Table(["", "value"], counters)]
    return _report(picture, title, blocks)


def svg_text(picture: Picture, title: str) -> str:
    """One SVG document with all drawings."""
    return stack(_drawn(picture), title)


def _drawn(picture: Picture) -> list[Canvas]:
    return [draw_bytes(picture), draw_tree(picture), draw_frames(picture)]


def _report(picture: Picture, title: str, blocks: list[Block]) -> Report:
    document = Document(title, sentence(picture), blocks)
    return Report(picture.model_dump(), document)


def _table(picture: Picture) -> Table:
    total = picture.total_bytes
    rows = [
        [LOOKS[kind].label, bytes_text(size), share_text(size, total)]
        for kind, size in picture.held
        if size
    ]
    rows.append(["the arena", bytes_text(total), share_text(total, total)])
    return Table(["bytes", "", "share"], rows)
