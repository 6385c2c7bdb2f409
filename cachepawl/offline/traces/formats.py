"""The formats: how each is told by its fields, read, and put onto a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.traces import bailian, claude_code, marconi, mooncake
from cachepawl.offline.traces.claude_code import Sharing
from cachepawl.offline.traces.fields import Fields
from cachepawl.offline.traces.request import Record
from cachepawl.offline.traces.timeline import Lines, Refuse, by_time, side_by_side


class Options(NamedTuple):
    """How conversations without a common clock are set side by side; other formats ignore it."""

    seed: int = 1
    gap: float = 90.0
    """Mean seconds between the starts of two conversations."""
    sharing: Sharing = Sharing.TOOLS


Read = Callable[[Fields, int], Iterator[Record]]
"""An object and the number of its line to its requests; InputError for a bad one."""


class Format(NamedTuple):
    """One kind of file."""

    block_tokens: int
    marks: tuple[str, ...]
    """Fields that tell it; the first format whose marks are all there is the one."""
    reader: Callable[[Options], Read]
    timeline: Callable[[Lines, Refuse, Options], Iterator[Record]]


def _clocked(lines: Lines, refuse: Refuse, options: Options) -> Iterator[Record]:
    return by_time(lines, refuse)


def _unclocked(lines: Lines, refuse: Refuse, options: Options) -> Iterator[Record]:
    return side_by_side(lines, options.seed, options.gap)


RECORDING = "cachepawl"
"""A log of `--cachepawl-trace`; not one of `FORMATS`, as its lines are no objects."""
FORMATS = {
    "claude-code": Format(
        claude_code.BLOCK_TOKENS,
        claude_code.MARKS,
        lambda options: claude_code.Reader(options.sharing).records,
        _unclocked,
    ),
    "marconi": Format(
        marconi.BLOCK_TOKENS, marconi.MARKS, lambda options: marconi.records, _clocked
    ),
    "bailian": Format(
        bailian.BLOCK_TOKENS, bailian.MARKS, lambda options: bailian.Reader().records, _clocked
    ),
    "mooncake": Format(
        mooncake.BLOCK_TOKENS, mooncake.MARKS, lambda options: mooncake.records, _clocked
    ),
}


def looks_like(value: Fields) -> str | None:
    """The name of the format that an object's fields tell, or None."""
    for name, format in FORMATS.items():
        if all(mark in value for mark in format.marks):
            return name
    return None


def named(name: str) -> Format:
    """A format by its name; InputError if there is none."""
    if name not in FORMATS:
        known = ", ".join(sorted([*FORMATS, RECORDING]))
        raise InputError(f"trace format {name!r}: give one of auto, {known}")
    return FORMATS[name]
