"""How each kind of bytes is called, marked and coloured, the same in every form of a map."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.observe.cells import KINDS


class Look(NamedTuple):
    """Of one kind."""

    label: str
    mark: str
    """Its character in text."""
    light: str
    """Its fill on a light page; the darker, the firmer it is held."""
    dark: str
    """Its fill on a dark page; the brighter, the firmer it is held."""


LOOKS = {
    "kv_evictable": Look("KV in the tree, evictable", "k", "#8fc1ec", "#2d5c88"),
    "kv_locked": Look("KV in the tree, locked", "K", "#2f7fc4", "#4b98de"),
    "kv_requests": Look("KV of running requests", "r", "#123f6e", "#b4d8fb"),
    "kv_stranded": Look("free pages beside KV", "o", "#d3d7de", "#3d4553"),
    "states_evictable": Look("states in the tree, evictable", "s", "#f5bd78", "#9c6324"),
    "states_locked": Look("states in the tree, locked", "S", "#d9761a", "#e18f3a"),
    "states_requests": Look("states of running requests", "Q", "#7d3a05", "#ffd6a6"),
    "padding": Look("padding behind states", "p", "#e9dccb", "#54493c"),
    "free": Look("free frames", ".", "none", "none"),
    "sink": Look("padding sink", "-", "#6b7280", "#8b93a1"),
}
assert tuple(LOOKS) == KINDS

FIRM = ("kv_locked", "kv_requests", "states_locked", "states_requests")
"""Kinds that text stands on in the colour of the page."""


def bytes_text(count: int) -> str:
    """Bytes in the unit that a person would choose."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:,.2f} {name}"
    return f"{count} B"


def share_text(part: int, whole: int) -> str:
    """A share in percent; what is there is never 0, what is missing never left out."""
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if percent >= 99.95 and part < whole:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def counted(number: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
