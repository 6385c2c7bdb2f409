"""A long random walk, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from paths import Path
from theirs import NAMESPACES

LETTERS, DEPTH = 3, 8


class Paths:
    """Paths that often share, extend or leave one of the last ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.recent: list[Path] = []

    def draw(self) -> Path:
        r = self.random
        letters = tuple(r.randrange(LETTERS) for _ in range(r.randrange(DEPTH + 1)))
        if not self.recent or r.random() < 0.2:
            path: Path = (r.choice(list(NAMESPACES)), *letters)
        else:
            base = r.choice(self.recent)
            path = base[: r.randint(1, len(base))] + letters[: r.randrange(4)]
            path = path[: DEPTH + 1]
        self.recent = [*self.recent[-24:], path]
        return path


class Machine(Protocol):
    """What is walked."""

    def moves(self, paths: Paths) -> list[tuple[int, Callable[[], object]]]:
        """Weights and moves."""

    def agree(self) -> None: ...

    def check(self) -> None: ...


def walk(machine: Machine, seed: int, steps: int, *, check_every: int = 50) -> None:
    """`steps` random moves; `agree` after each, `check` now and then."""
    paths = Paths(seed)
    weights, moves = zip(*machine.moves(paths), strict=True)
    for step in range(steps):
        move = paths.random.choices(moves, weights)[0]
        try:
            move()
            machine.agree()
            if step % check_every == 0:
                machine.check()
        except Exception as error:
            error.add_note(f"seed {seed}, step {step}")
            raise
