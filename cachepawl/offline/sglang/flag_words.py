"""Command-line words into flags with their texts, and the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class Words(NamedTuple):
    """A command line, taken apart.  No word is lost."""

    pairs: tuple[tuple[str, str | None], ...]
    """Known flags in order; the text is None for one without a value."""
    rest: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


def split_words(words: Sequence[str], takes_value: Callable[[str], bool | None]) -> Words:
    """Take words apart.  `takes_value` says of a flag whether it has one; None: unknown.

    The word after a flag that takes a value is its value whatever it looks like ("-1"),
    except another long flag: then the text is None.
    """
    pairs, rest, environment = list[tuple[str, str | None]](), list[str](), dict[str, str]()
    left = list(reversed(words))
    while left:
        word = left.pop()
        flag, equals, text = word.partition("=")
        takes = takes_value(flag) if flag.startswith("--") else None
        assigned = None if pairs or rest else _ASSIGNMENT.fullmatch(word)
        if assigned:
            environment[assigned[1]] = assigned[2]
        elif takes is None:
            rest.append(word)
        elif equals:
            pairs.append((flag, text))
        elif takes and left and not left[-1].startswith("--"):
            pairs.append((flag, left.pop()))
        else:
            pairs.append((flag, None))
    return Words(tuple(pairs), tuple(rest), tuple(environment.items()))
