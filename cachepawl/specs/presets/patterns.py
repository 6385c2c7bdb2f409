"""Short ways to write the layer lists of configurations."""

from __future__ import annotations

from collections.abc import Iterable


def listed(layers: int, special: Iterable[int], word: str, other: str) -> tuple[str, ...]:
    """`word` at the indices `special`, `other` elsewhere."""
    chosen = frozenset(special)
    return tuple(word if index in chosen else other for index in range(layers))
