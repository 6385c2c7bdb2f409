"""A map as a report: the picture's own data, and pages for terminals and browsers."""

from __future__ import annotations

from cachepawl.offline.document import Block, Document, Drawing, Heading, Pre, Report, Table, Text
from cachepawl.offline.map.drawings import draw_bytes, draw_frames, draw_tree
from cachepawl.offline.map.kinds import LOOKS, bytes_text, share_text
from cachepawl.offline.map.picture import Picture
from cachepawl.offline.map.svg import Canvas, stack, to_text
from cachepawl.offline.map.text import frames_text, tree_text
from cachepawl.offline.map.words import sentence


def text_report(picture: Picture, title: str) -> Report:
    """For a terminal."""
    blocks = _text_blocks(picture, "The tree", "The frames")
    if picture.host is not None:
        there = picture.host
        blocks += [Heading("The host tier"), Text(sentence(there))]
        blocks += _text_blocks(there, "The host's tree", "The host's frames")
    return _report(picture, title, blocks)


def _text_blocks(picture: Picture, tree: str, frames: str) -> list[Block]:
    return [
        _table(picture),
        Heading(tree),
        Pre(tree_text(picture)),
        Heading(frames),
        Pre(frames_text(picture)),
    ]


def page_report(picture: Picture, title: str) -> Report:
    """For a browser; point at a node or a cell to read about it."""
    blocks: list[Block] = [Drawing(canvas.title, to_text(canvas)) for canvas in _drawn(picture)]
    blocks += [Heading("Counters"), _counters(picture)]
    if picture.host is not None:
        blocks += [Heading("The host's counters"), _counters(picture.host)]
    return _report(picture, title, blocks)


def _counters(picture: Picture) -> Table:
    rows: list[list[str | int]] = [
        [name.replace("_", " "), value] for name, value in picture.stats.items()
    ]
    return Table(["", "value"], rows)


def svg_text(picture: Picture, title: str) -> str:
    """One SVG document with all drawings."""
    return stack(_drawn(picture), title)


def _drawn(picture: Picture) -> list[Canvas]:
    drawn = [draw_bytes(picture), draw_tree(picture), draw_frames(picture)]
    if picture.host is not None:
        there = _drawn(picture.host)
        for canvas in there:
            canvas.title = f"Host. {canvas.title}"
        drawn += there
    return drawn


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
