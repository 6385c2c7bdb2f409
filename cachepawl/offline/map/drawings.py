"""The three drawings of a map: where the bytes are, the tree, the frames."""

from __future__ import annotations

from cachepawl.observe.cells import KINDS
from cachepawl.offline.map.kinds import LOOKS, bytes_text, counted, share_text
from cachepawl.offline.map.picture import Entry, Picture
from cachepawl.offline.map.rows import Placed, place
from cachepawl.offline.map.svg import CHARACTER, FONT, Canvas, fitting, on
from cachepawl.offline.map.words import cell_words, entry_words

WIDTH = 1100.0
ROW = 18.0
LEAST_ROW = 5.0
TREE_HEIGHT = 1500.0
"""Of the rows, as long as they can be so low."""
STATE = 5.0
"""Width of the mark of a state, at the end of its node."""
COLUMNS = 64
"""Cells of frames in a row."""


def draw_bytes(picture: Picture) -> Canvas:
    """One bar of the whole arena, and what its colours mean."""
    columns, line = 3, 20.0
    lines = -(-len(KINDS) // columns)
    title = f"The arena: {bytes_text(picture.total_bytes)}"
    canvas = Canvas(WIDTH, 34 + lines * line, title)
    at = 0.0
    for kind, size in picture.held:
        width = WIDTH * size / picture.total_bytes
        text = f"{LOOKS[kind].label}: {bytes_text(size)}"
        share = share_text(size, picture.total_bytes)
        if size:
            canvas.group(f"{text} ({share})")
            canvas.box(at, 0, width, 22, kind)
            canvas.words(at + 4, 15, fitting(width, share), on(kind))
            at += width
    canvas.ungroup()
    canvas.box(0, 0, WIDTH, 22, "frame")
    for i, kind in enumerate(KINDS):
        column, row = divmod(i, lines)
        x, y = column * WIDTH / columns, 34 + row * line
        canvas.box(x, y, 12, 12, kind)
        size = picture.bytes[kind]
        canvas.words(x + 18, y + 10, LOOKS[kind].label, "ink" if size else "soft")
        text = f"{bytes_text(size)}, {share_text(size, picture.total_bytes)}" if size else "none"
        canvas.words(x + 340, y + 10, text, "soft", "end")
    return canvas


def draw_tree(picture: Picture) -> Canvas:
    """Edges from left to right to scale in tokens, leaves below each other."""
    tree = picture.tree
    placed = place(tree)
    rows = max((spot.bottom for spot in placed), default=0)
    row = min(ROW, max(LEAST_ROW, TREE_HEIGHT // max(rows, 1)))
    longest = max((entry.end for entry in tree.entries), default=1)
    gutter = 76.0 if any(entry.namespace for entry in tree.entries) else 0.0
    top = 40.0
    canvas = Canvas(WIDTH, top + rows * row + 4, _tree_title(picture))
    _tree_legend(canvas)
    scale = (WIDTH - gutter - 2) / longest
    for tick in _ticks(longest):
        x = gutter + tick * scale
        canvas.box(x, top - 5, 1, rows * row + 5, "line")
        at, anchor = (x - 3, "end") if x > WIDTH - 60 else (x + 3, "start")
        canvas.words(at, top - 4, f"{tick:,}", "soft", anchor)
    if gutter:
        canvas.words(gutter - 8, top - 4, "namespace", "soft", "end")
    for spot in placed:
        y, height = top + spot.top * row, (spot.bottom - spot.top) * row - 1
        _draw_entry(canvas, spot, gutter + spot.entry.start * scale, y, scale, height)
        if gutter and spot.entry.namespace is not None and height >= FONT - 1:
            canvas.ungroup()
            canvas.words(gutter - 8, y + FONT, spot.entry.namespace or "none", "soft", "end")
    return canvas


def _tree_title(picture: Picture) -> str:
    tree = picture.tree
    title = (
        f"The tree: {counted(tree.nodes, 'node')}, {counted(tree.total('tokens'), 'token')}, "
        f"{counted(tree.total('states'), 'state')}"
    )
    if len(tree.entries) < tree.nodes:
        single = sum(not entry.is_summary for entry in tree.entries)
        title += f"; the {single:,} with most bytes are drawn, the rest is summed up"
    return title


def _tree_legend(canvas: Canvas) -> None:
    x = 0.0
    for text, looks in (
        ("evictable", ("kv_evictable",)),
        ("locked", ("kv_locked",)),
        ("ends with a state", ("kv_evictable", "states_evictable")),
        ("with a locked one", ("kv_locked", "states_locked")),
        ("several nodes, up to the deepest", ("kv_evictable faint", "many")),
    ):
        canvas.box(x, 0, 30, 11, looks[0])
        for look in looks[1:]:
            width = 30 if look == "many" else STATE
            canvas.box(x + 30 - width, 0, width, 11, look)
        canvas.words(x + 36, 10, text, "soft")
        x += 60 + CHARACTER * len(text)
    canvas.words(WIDTH, 10, "tokens from the start of the prompt", "soft", "end")


def _draw_entry(
    canvas: Canvas, spot: Placed, x: float, y: float, scale: float, height: float
) -> None:
    entry = spot.entry
    width = max(2.0, (entry.end - entry.start) * scale - 1)
    canvas.group("; ".join(entry_words(entry)))
    firm = "kv_locked" if entry.locked_tokens == entry.tokens else "kv_evictable"
    if entry.is_summary:
        part = width * entry.locked_tokens / entry.tokens
        canvas.box(x, y, part, height, "kv_locked faint")
        canvas.box(x + part, y, width - part, height, "kv_evictable faint")
        canvas.box(x, y, width, height, "many")
        firm = "kv_evictable"
    else:
        canvas.box(x, y, width, height, firm)
        if entry.states:
            mark = min(STATE, width)
            look = "states_locked" if entry.locked_states else "states_evictable"
            canvas.box(x + width - mark, y, mark, height, look)
    if height >= FONT:
        text = fitting(width - STATE, *_labels(entry))
        canvas.words(x + 4, y + min(height, ROW) / 2 + FONT / 2 - 1.5, text, on(firm))


def _labels(entry: Entry) -> tuple[str, ...]:
    if not entry.is_summary:
        long = counted(entry.tokens, "token")
        if entry.kv_locks:
            return f"{long}, {counted(entry.kv_locks, 'lock')}", long, f"{entry.tokens:,}"
        return long, f"{entry.tokens:,}"
    nodes, tokens = f"{entry.nodes:,} nodes", counted(entry.tokens, "token")
    return f"{nodes}, {tokens}, {counted(entry.states, 'state')}", f"{nodes}, {tokens}", nodes


def _ticks(longest: int) -> list[int]:
    """Some round depths."""
    step = 1
    while longest / step > 8:
        step *= 2
    return list(range(0, longest + 1, step))


def draw_frames(picture: Picture) -> Canvas:
    """Cells in the arena's order, filled from below by what they hold."""
    cells, each = picture.cells.bytes, picture.cells.frames_each
    gutter, pitch = 58.0, 16.0
    lines = -(-len(cells) // COLUMNS)
    g = picture.geometry
    title = f"The frames: {g.frames - 1:,} of {bytes_text(g.frame_bytes)}, and the padding sink"
    canvas = Canvas(WIDTH, lines * pitch, title + (f", {each:,} in a cell" if each > 1 else ""))
    for line in range(lines):
        canvas.words(gutter - 8, line * pitch + 11, f"{line * COLUMNS * each:,}", "soft", "end")
    for i, cell in enumerate(cells):
        line, column = divmod(i, COLUMNS)
        x, bottom = gutter + column * pitch, line * pitch + 14
        canvas.group(cell_words(picture, i))
        canvas.box(x, bottom - 14, 14, 14, "frame")
        at = bottom
        for kind, size in zip(KINDS, cell, strict=True):
            height = 14 * size / sum(cell)
            at -= height
            if kind != "free":
                canvas.box(x, at, 14, height, kind)
    return canvas
