"""The tree in rows: one a leaf entry, whatever is above it beside all rows of its leaves.

[0, 64)  | [64, 200) | [200, 260)        row 0
         |           | 12 nodes more     row 1
         | [64, 90)                      row 2
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.offline.map.picture import Entry, Tree


class Placed(NamedTuple):
    """An entry, at `level` entries below the root, and its rows `[top, bottom)`."""

    entry: Entry
    level: int
    top: int
    bottom: int


def place(tree: Tree) -> list[Placed]:
    """All entries, parents first; siblings as in the tree, their summary last."""
    below: dict[int, list[int]] = {}
    for i, entry in enumerate(tree.entries):
        below.setdefault(entry.parent, []).append(i)
    for siblings in below.values():
        siblings.sort(key=lambda i: tree.entries[i].is_summary)
    rows = [0] * len(tree.entries)
    for i in range(len(rows) - 1, -1, -1):
        rows[i] = sum(rows[child] for child in below.get(i, ())) or 1
    out: list[Placed] = []
    todo = [(i, 0) for i in reversed(below.get(-1, ()))]
    tops = {-1: 0}  # the next free row below each entry
    while todo:
        i, level = todo.pop()
        parent = tree.entries[i].parent
        top = tops[parent]
        tops[parent] = top + rows[i]
        tops[i] = top
        out.append(Placed(tree.entries[i], level, top, top + rows[i]))
        todo.extend((child, level + 1) for child in reversed(below.get(i, ())))
    return out
