"""Short names for keys: a namespace, then one letter a page, so that forks are common."""

from __future__ import annotations

from array import array
from typing import Any

from cachepawl.tree import Node
from cachepawl.types import Key

Path = tuple[Any, ...]


def page_of(letter: int, size: int) -> list[int]:
    """The tokens of a letter: 0 and 1 differ in the last token, 2 and 0 in the first."""
    tokens = [0] * size
    if letter:
        tokens[-1 if letter == 1 else 0] = letter
    return tokens


def key_of(path: Path, size: int, tail: int = 0) -> Key:
    """The key of a path, with `tail` more tokens than whole pages."""
    tokens = [token for letter in path[1:] for token in page_of(letter, size)]
    return Key(array("q", tokens + [0] * tail).tobytes(), path[0])


def key_to(node: Node, size: int) -> Key:
    """The key that ends on a node of ours."""
    edges = []
    hook = b""
    while node.parent is not None:
        edges.append(node.key)
        hook = node.hook
        node = node.parent
    return Key(b"".join(reversed(edges)), hook[: -8 * size] if hook else b"")


def cut(key: Key, tokens: int) -> Key:
    """The first tokens of a key."""
    return Key(key.tokens[: 8 * tokens], key.namespace)
