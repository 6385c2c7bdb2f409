"""A map for the terminal: ASCII, one line a node, one character a cell of frames."""

from __future__ import annotations

from cachepawl.observe.cells import KINDS
from cachepawl.offline.map.kinds import LOOKS
from cachepawl.offline.map.picture import Picture
from cachepawl.offline.map.rows import Placed, place
from cachepawl.offline.map.words import entry_words

BAR = 48
"""Characters of the deepest path."""
CELLS = 64
"""Cells a line."""
INDENT = 24
"""Entries below the root that are still set in further."""
TREE_LEGEND = (
    "= KV   # locked KV   s ends with a state   S with a locked one   ~ several nodes\n"
    "Bars are to scale in tokens from the start of the prompt."
)


def tree_text(picture: Picture) -> str:
    """The tree, and what its marks mean."""
    if not picture.tree.entries:
        return "The tree is empty."
    longest = max(entry.end for entry in picture.tree.entries)
    lines = [_line(spot, longest) for spot in place(picture.tree)]
    return "\n".join([*lines, "", TREE_LEGEND])


def _line(spot: Placed, longest: int) -> str:
    entry = spot.entry
    first = BAR * entry.start // longest
    length = max(1, BAR * entry.end // longest - first)
    mark = "~" if entry.is_summary else "#" if entry.locked_tokens else "="
    bar = mark * length
    if entry.states and not entry.is_summary:
        bar = bar[:-1] + ("S" if entry.locked_states else "s")
    indent = "  " * min(spot.level, INDENT)
    return f"{' ' * min(first, BAR - 1) + bar:{BAR}}  {indent}{'; '.join(entry_words(entry))}"


def frames_text(picture: Picture) -> str:
    """The frames, and what their marks mean: each cell shows what it has most of."""
    each = picture.cells.frames_each
    marks = [
        LOOKS[KINDS[max(range(len(cell)), key=cell.__getitem__)]].mark
        for cell in picture.cells.bytes
    ]
    lines = [
        f"{at * each:9,} {''.join(marks[at : at + CELLS])}" for at in range(0, len(marks), CELLS)
    ]
    if each > 1:
        lines.append(f"One character is {each:,} frames, and shows what they have most of.")
    shown = [look for kind, look in LOOKS.items() if look.mark in marks]
    return "\n".join([*lines, "", *(f"{look.mark} {look.label}" for look in shown)])
